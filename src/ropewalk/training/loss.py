"""The loss of a causal language model, without the logits of a whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, masking_utils

from ropewalk.models.binding import patch
from ropewalk.models.heads import decoder, scales_logits
from ropewalk.rope import Rope
from ropewalk.training.batches import IGNORED, Batch
from ropewalk.training.options import FarOptions

LOGIT_BYTES = 2**28
"""Memory for the float32 logits of one piece."""


class CausalLoss(nn.Module):
    """A model whose output is the sum of the NLL (nats) of its targets.

    Logits are the largest tensor of a training: at 32,768 tokens and a vocabulary of 128,000 they take 16 GiB in
    float32. Here they exist for one piece of the batch at a time, and are computed again for the gradient; on a GPU
    with the package ``liger-kernel`` they do not exist at all.

    Args:
        model: a causal language model, trained in place.
        far: weigh each token by e to the power of what the far context saves of its NLL, as LongCE does (arXiv
            2410.23771, section 4); the weights have no gradient.
        tables: the short rope of two and the long one, of which each pass takes the one that it is told.
    """

    def __init__(
        self, model: PreTrainedModel, far: FarOptions | None = None, tables: tuple[Rope, Rope] | None = None
    ) -> None:
        super().__init__()
        self.model, self.far, self.tables = model, far, tables
        self.plain_head = not scales_logits(model.config)
        # Sharding goes by these layers. The head is none of them: its weight is read here, outside of its own pass.
        self._no_split_modules = getattr(model, "_no_split_modules", None)

    def tie_weights(self) -> None:
        """Tie what the model ties, after its weights were replaced."""
        self.model.tie_weights()

    def forward(
        self,
        ids: torch.Tensor,
        targets: torch.Tensor,
        positions: torch.Tensor | None = None,
        bounds: torch.Tensor | None = None,
        longest: int = 0,
        short: bool = False,
    ) -> torch.Tensor:
        """The summed NLL of the targets, in nats, weighted where the far context counts; -100 counts nothing.

        Args:
            ids: token ids, shape (sequences, length).
            targets: the token to be predicted at each place, of the same shape.
            positions: place of each token in its document, of the same shape; 0 begins a document.
            bounds: see :func:`documents_within`; where given, all sequences go through the model as one.
            longest: tokens of the longest document; with ``bounds``.
            short: these are sequences of the training length, for the short table of two; they have no far context.
        """
        if self.tables is not None:
            patch(self.model, self.tables[0 if short else 1], prove=False)
        near = None if self.far is None or short else self._near(ids, targets, self.far.window)
        given: dict[str, Any] = {"use_cache": False}
        if bounds is not None:
            # Flash attention looks for documents in a batch of one row only, and else attends from one to another.
            ids, positions = ids.flatten()[None], None if positions is None else positions.flatten()[None]
            given |= {
                "cu_seq_lens_q": bounds,
                "cu_seq_lens_k": bounds,
                "max_length_q": longest,
                "max_length_k": longest,
            }
        with _documents_known(positions):
            if not self.plain_head:
                logits = self.model(input_ids=ids, position_ids=positions, **given).logits
                return self._loss(logits.flatten(0, 1), targets.flatten(), near)
            body, head = decoder(self.model), self.model.get_output_embeddings()
            hidden = body(input_ids=ids, position_ids=positions, **given).last_hidden_state.flatten(0, 1)
        wanted = targets.flatten()
        if near is None and fused(hidden.device):
            from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

            loss = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORED, reduction="sum")
            total: torch.Tensor = loss(head.weight, hidden, wanted, head.bias)
            return total
        rows = max(1, LOGIT_BYTES // (4 * head.weight.shape[0]))
        if len(wanted) <= rows:
            return self._loss(head(hidden), wanted, near)
        count = -(-len(wanted) // rows)
        nears = [None] * count if near is None else near.split(rows)
        pieces = [
            checkpoint(lambda h, t, n: self._loss(head(h), t, n), h, t, n, use_reentrant=False)
            for h, t, n in zip(hidden.split(rows), wanted.split(rows), nears, strict=True)
        ]
        return torch.stack(pieces).sum()

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor, near: torch.Tensor | None) -> torch.Tensor:
        """The summed NLL, shape (); each weighted by what it is less than ``near``, the NLL with near context alone."""
        if near is None:
            return _nll(logits, targets)
        assert self.far is not None
        each = _each(logits, targets)
        weights = (near - each.detach()).exp().clamp(max=self.far.ceiling)
        return (weights * each).sum()

    @torch.no_grad()
    def _near(self, ids: torch.Tensor, targets: torch.Tensor, window: int) -> torch.Tensor:
        """NLL of targets with more than half a window of context, or all there is, nats, shape (sequences x length,).

        Windows begin every half window at position 0, and the last half of each is scored; of the first window all is,
        where near and far context are the same.
        """
        rows, length = ids.shape
        starts = sorted({*range(0, length - window, window // 2), length - window})
        at = torch.tensor(starts, device=ids.device)[:, None] + torch.arange(window, device=ids.device)
        wanted = targets[:, at]
        with _documents_known(None):
            parts = []
            for row in range(rows):
                logits = self.model(input_ids=ids[row][at], use_cache=False).logits
                flat = logits.flatten(0, 1).float()
                parts.append(_each(flat, wanted[row].flatten()))
        found = torch.zeros(rows, length, device=ids.device)
        for row, nll in enumerate(parts):
            for start, values in zip(starts, nll.view(len(starts), window), strict=True):
                scored = 0 if start == 0 else window // 2
                found[row, start + scored : start + window] = values[scored:]
        return found.flatten()


def documents_within(batch: Batch, attention: str | None) -> tuple[np.ndarray | None, int]:
    """Where documents begin and end, for kernels that take documents of different lengths one after the other.

    Given on the CPU, since a model that has to find them out waits for the GPU in every layer.

    Args:
        batch: what goes through the model at once.
        attention: transformers' name of the kernel; only flash attention takes them.

    Returns:
        The bounds of all documents, int32, from 0 to the tokens of the batch, and the tokens of the longest document;
        None and 0 where the kernel needs none.
    """
    one_text = batch.positions is None
    if "flash" not in (attention or "") or (one_text and len(batch.ids) > 1):
        return None, 0
    starts = np.zeros(1, np.int64) if batch.positions is None else np.flatnonzero(batch.positions.ravel() == 0)
    bounds = np.append(starts, batch.ids.size)
    return bounds.astype(np.int32), int(np.diff(bounds).max())


@contextmanager
def _documents_known(positions: torch.Tensor | None) -> Iterator[None]:
    """Keep transformers from asking the GPU, once a pass, whether a sequence has several documents: it waits for it."""

    def found(position_ids: torch.Tensor) -> torch.Tensor | None:
        if positions is None:
            return None
        return (torch.diff(positions, prepend=positions[:, :1] - 1, dim=-1) != 1).cumsum(-1)

    before = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = found
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = before


def _each(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="none")


def _nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")


def fused(device: torch.device) -> bool:
    """Whether head and loss are one kernel on this device."""
    return device.type == "cuda" and find_spec("liger_kernel") is not None
