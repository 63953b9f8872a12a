from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from ropewalk.errors import UserError
from ropewalk.models.fresh import ModelShape
from ropewalk.rope import apply, default_rope
from ropewalk.training.finetune import run

SHAPE = ModelShape(hidden_size=32, layers=1, heads=1, kv_heads=1, intermediate_size=32, length=32)
FRESH = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.no_grad():
    torch.save(model(torch.arange(200)[None] % 250).logits, sys.argv[2])
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory, lettered, make_model) -> list[str]:
    rope = tmp_path_factory.mktemp("given") / "rope.json"
    apply(apply(default_rope(32, 1e4, 32), "yarn", factor=4.0), "resonance").save(rope)
    given = [make_model(SHAPE).name, "--rope", str(rope), "--corpus", str(lettered.folder)]
    return [*given, "--length", "64", "--batch-tokens", "256", "--steps", "6", "--learning-rate", "1e-3"]


def test_a_checkpoint_gives_the_same_logits_in_a_process_that_knows_nothing_of_this(options, tmp_path):
    run([*options, "--warmup-steps", "2", "--schedule", "linear", "-o", str(tmp_path / "tuned")])
    record = json.loads((tmp_path / "tuned/training.json").read_text())
    assert (record["options"]["warmup_steps"], record["options"]["schedule"]) == (2, "linear")
    assert not (tmp_path / "tuned.state").exists()
    assert (tmp_path / "tuned.jsonl").is_file()
    command = [sys.executable, "-c", FRESH, str(tmp_path / "tuned"), str(tmp_path / "logits.pt")]
    subprocess.run(command, check=True, capture_output=True)
    from ropewalk.models.binding import patch
    from ropewalk.rope import Rope

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=torch.float32).eval()
    patch(model, Rope.load(options[2]))
    with torch.no_grad():
        expected = model(torch.arange(200)[None] % 250).logits
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected, rtol=1e-4, atol=1e-4)


def test_a_dry_run_trains_nothing_and_needs_no_text(options, tmp_path, capsys):
    run([options[0], "--length", "64", "--batch-tokens", "256", "--steps", "6", "--dry-run", "-o", str(tmp_path / "x")])
    said = capsys.readouterr().out
    assert "tokens                         1,536" in said
    assert "fits into 80 GiB" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--context-parallel", "2"], "context_parallel cuts sequences among processes that share the weights"),
        (["--batch-tokens", "100"], "batch_tokens is 100; expected a multiple of the sequence length, 64"),
        (["--lora-rank", "-1"], "LoRA rank is -1; expected at least 1"),
        (["--packed", "--copy-fraction", "0.5"], "packed sequences are documents only"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        run([*options, *more, "-o", str(tmp_path / "tuned")])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="--output is missing; only --dry-run goes without it"):
        run(options)
