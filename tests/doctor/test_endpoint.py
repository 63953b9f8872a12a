"""Every wrong rope of every tiny model is served and named; and what servers do otherwise is told in a sentence."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.doctor.check import check
from ropewalk.doctor.faults import RIGHT
from ropewalk.doctor.tiny import TINY
from ropewalk.errors import PassingError, UserError

YARN = {
    "ignored": {"rope_type": "default", "mscale": None, "mscale_all_dim": None},
    "linear-instead": {"rope_type": "linear", "mscale": None, "mscale_all_dim": None},
    "wrong-ramp-exchanged": {"beta_fast": 2.0, "beta_slow": 16.0},
    "wrong-ramp-defaults": {"beta_fast": 32.0, "beta_slow": 1.0},
    "original-length-misread": {"original_max_position_embeddings": 1024},
    "base-ignored": {"rope_theta": 10_000.0},
    "attention-factor-dropped": {"attention_factor": 1.0},
    "attention-factor-squared": {"attention_factor": (0.1 * math.log(4) + 1) ** 2},
}
LONGROPE_FACTOR = math.sqrt(1 + math.log(4) / math.log(256))
WRONG: dict[str, dict[str, dict]] = {
    "llama-yarn": YARN,
    "qwen3-yarn": YARN,
    "gemma3-linear": {"ignored": {"rope_type": "default"}, "base-ignored": {"rope_theta": 10_000.0}},
    "phi-longrope": {
        "ignored": {"rope_type": "default"},
        "linear-instead": {"short_factor": [4.0] * 32, "long_factor": [4.0] * 32, "attention_factor": 1.0},
        "attention-factor-dropped": {"attention_factor": 1.0},
        "attention-factor-squared": {"attention_factor": LONGROPE_FACTOR**2},
        "short-table-for-long": {"long_factor": "short_factor"},
        "long-table-for-short": {"short_factor": "long_factor"},
    },
    "deepseek-v3-yarn": {
        **YARN,
        "attention-factor-dropped": {"attention_factor": 1.0, "mscale": None, "mscale_all_dim": None},
        # Latent attention scales by (0.1 m ln s + 1)^2; such an m makes it the fourth power of what m = 1 does.
        "attention-factor-squared": {
            "attention_factor": 1.0,
            "mscale_all_dim": ((0.1 * math.log(4) + 1) ** 2 - 1) / (0.1 * math.log(4)),
        },
    },
}
"""What in a configuration makes transformers compute a wrong rope by itself."""

ALL = [(name, fault) for name, faults in WRONG.items() for fault in (*faults, "bf16-frequencies", "bf16-angles")]


def served(folder: Path, fault: str = RIGHT):
    """A model in bfloat16, as engines run it, with a fault that nothing of the doctor puts in."""
    config = AutoConfig.from_pretrained(folder)
    parameters = deepcopy(config.rope_parameters)
    own = parameters.get("full_attention", parameters)
    for key, value in WRONG[folder.name].get(fault, {}).items():
        own[key] = own[value] if isinstance(value, str) and value in own else value
    for key in [key for key, value in own.items() if value is None]:
        del own[key]
    config.rope_parameters = parameters
    model = AutoModelForCausalLM.from_pretrained(folder, config=config).eval()
    if fault == "bf16-frequencies":
        model.bfloat16()  # casts the buffers too
    if fault == "bf16-angles":
        rotary = model.model.rotary_emb

        def forward(x, position_ids, layer_type=None):
            prefix = f"{layer_type}_" if layer_type else ""
            table = getattr(rotary, f"{prefix}inv_freq")
            if folder.name == "phi-longrope" and position_ids.max() >= 256:
                table = long
            angles = position_ids[..., None].bfloat16() * table.bfloat16()
            angles = torch.cat([angles, angles], dim=-1).float()
            factor = getattr(rotary, f"{prefix}attention_scaling")
            return (angles.cos() * factor).to(x), (angles.sin() * factor).to(x)

        if folder.name == "phi-longrope":
            long = rotary.inv_freq * torch.tensor(own["short_factor"]) / torch.tensor(own["long_factor"])
        rotary.forward = forward
    return model


@pytest.mark.parametrize(("name", "fault"), ALL)
def test_every_fault_is_named(tiny, serve, name, fault):
    with serve(served(tiny / name, fault), names=(name,)) as server:
        found = check(server.address, model=str(tiny))
    assert (found.verdict, found.best) == ("fault", fault), found
    assert found.margin > 2 * found.noise
    assert not found.rivals
    assert not found.hidden


@pytest.mark.parametrize("name", TINY)
def test_a_right_engine_is_right(tiny, serve, name):
    with serve(served(tiny / name), names=(name,)) as server:
        found = check(f"{server.address}/v1/", model=str(tiny / name))
    assert (found.verdict, found.best) == ("applies", RIGHT), found
    assert found.distances[RIGHT] < 1.5 * found.noise


@pytest.fixture(scope="module")
def llama(tiny):
    return served(tiny / "llama-yarn")


@pytest.mark.parametrize(
    "behaviour",
    [
        {"echoes": None, "prompt_logprobs": True},
        {"echoes": False, "prompt_logprobs": True},
        {"takes_ids": False},
        {"takes_ids": False, "echoes": None, "prompt_logprobs": True},
    ],
)
def test_servers_are_asked_in_the_way_that_they_answer(tiny, serve, llama, behaviour):
    with serve(llama, **behaviour) as server:
        assert check(server.address, model=str(tiny)).verdict == "applies"
    # The way is found once.
    assert len(server.asked) <= 3 + 4


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"log_probabilities": False}, "gives no log-probabilities of a prompt .an answer without log-prob"),
        ({"echoes": False}, "echo was passed over.*give the GGUF file"),
        ({"context": 500}, "cut the prompt: 500 tokens came back of 640 that were sent.*at least 641"),
        ({"echoes": None, "prompt_logprobs": True, "context": 500}, "cut the prompt"),
        ({"context": 95}, "leaves one token of the prompt out"),
        ({"first": (256,)}, "reads 97 tokens where 96 were sent"),
        ({"shift": 1}, "another vocabulary"),
        ({"failure": (401, {"error": "no"})}, "wants a key"),
        ({"failure": (400, {"error": {"message": "token 300 is out of vocabulary"}})}, "token 300 is out of"),
        ({"names": ("a", "b")}, "serves a, b; expected --name"),
        ({"names": ()}, "serves no model"),
        ({"failure": (200, {"choices": []})}, "without choices"),
    ],
)
def test_what_a_server_does_not_do_is_one_sentence(tiny, serve, llama, behaviour, said):
    with serve(llama, **behaviour) as server, pytest.raises(UserError, match=said) as caught:
        check(server.address, model=str(tiny / "llama-yarn"))
    assert caught.value.status == 2


def test_a_server_that_fails_may_not_the_next_time(tiny, serve):
    with serve(failure=(503, "<html>busy</html>")) as server, pytest.raises(PassingError, match="status 503: <html>"):
        check(server.address, model=str(tiny))
    with pytest.raises(PassingError, match="cannot be reached"):
        check(server.address, model=str(tiny))


def test_a_model_may_be_named(tiny, serve, llama):
    with serve(llama, names=("other", "org/llama-yarn")) as server:
        assert check(server.address, model=str(tiny), name="org/llama-yarn").verdict == "applies"
        with pytest.raises(UserError, match="serves no model 'x'; it has other, org/llama-yarn"):
            check(server.address, model=str(tiny), name="x")
        with pytest.raises(UserError, match="holds deepseek-v3-yarn, .* calls its model 'other'"):
            check(server.address, model=str(tiny), name="other")


def test_another_model_fits_nothing(tiny, serve, llama):
    with serve(llama, names=("qwen3-yarn",)) as server:
        found = check(server.address, model=str(tiny))
    assert found.verdict == "cannot-be-told"
    assert "another model" in found.said


def test_what_no_endpoint_is(tiny, serve):
    with serve() as server, pytest.raises(UserError, match=r"no OpenAI-style endpoint: status 404, Not Found\.$"):
        check(f"{server.address}/elsewhere", model=str(tiny))
    with pytest.raises(UserError, match="expected --model"):
        check(server.address)
    with pytest.raises(UserError, match="expected an address such as"):
        check("http://localhost:port", model=str(tiny))
