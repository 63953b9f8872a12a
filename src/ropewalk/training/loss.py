"""The loss of a causal language model, without the logits of a whole batch."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ropewalk.models.heads import decoder, scales_logits
from ropewalk.training.batches import IGNORED

LOGIT_BYTES = 2**28
"""Memory for the float32 logits of one piece."""


class CausalLoss(nn.Module):
    """A model whose output is the sum of the NLL (nats) of its targets.

    Logits are the largest tensor of a training: at 32,768 tokens and a vocabulary of 128,000 they take 16 GiB in
    float32. Here they exist for one piece of the batch at a time, and are computed again for the gradient; on a GPU
    with the package ``liger-kernel`` they do not exist at all.

    Args:
        model: a causal language model, trained in place.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.plain_head = not scales_logits(model.config)
        # Sharding goes by these layers. The head is none of them: its weight is read here, outside of its own pass.
        self._no_split_modules = getattr(model, "_no_split_modules", None)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """The summed NLL of the targets, in nats; -100 counts nothing.

        Args:
            ids: token ids, shape (sequences, length).
            targets: the token to be predicted at each place, of the same shape.
            positions: place of each token in its document, of the same shape; 0 begins a document.
        """
        if not self.plain_head:
            logits = self.model(input_ids=ids, position_ids=positions, use_cache=False).logits
            return _nll(logits.flatten(0, 1), targets.flatten())
        body, head = decoder(self.model), self.model.get_output_embeddings()
        hidden = body(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state.flatten(0, 1)
        wanted = targets.flatten()
        if fused(hidden.device):
            from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

            loss = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORED, reduction="sum")
            total: torch.Tensor = loss(head.weight, hidden, wanted, head.bias)
            return total
        rows = max(1, LOGIT_BYTES // (4 * head.weight.shape[0]))
        if len(wanted) <= rows:
            return _nll(head(hidden), wanted)
        pieces = [
            checkpoint(lambda h, t: _nll(head(h), t), h, t, use_reentrant=False)
            for h, t in zip(hidden.split(rows), wanted.split(rows), strict=True)
        ]
        return torch.stack(pieces).sum()


def _nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")


def fused(device: torch.device) -> bool:
    """Whether head and loss are one kernel on this device."""
    return device.type == "cuda" and find_spec("liger_kernel") is not None
