from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.errors import UserError
from ropewalk.models import binding
from ropewalk.models.fresh import fresh_llama
from ropewalk.models.heads import has_plain_head
from ropewalk.models.pieces import reads_in_pieces
from ropewalk.models.rope_reading import read_rope
from ropewalk.models.shape import ModelShape
from ropewalk.reading import nll, nll_file
from ropewalk.reading.perplexity import document_nll
from ropewalk.rope import methods

SHAPE = ModelShape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=32, length=32)


@pytest.fixture(scope="module")
def model():
    model = fresh_llama(SHAPE, 50, seed=0).eval()
    with torch.no_grad():  # far from uniform, so that positions matter
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50, size=200)


def plain_nll(model, tokens) -> np.ndarray:
    """The textbook way: one forward, full logits, log-softmax in float64."""
    ids = torch.tensor(tokens)[None]
    with torch.no_grad():
        logits = model(ids).logits.double()
    return -logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0].numpy()


@pytest.fixture(params=["one pass", "chunks"])
def passes(request, monkeypatch) -> str:
    """Both ways through the layers."""
    if request.param == "chunks":
        monkeypatch.setattr(nll, "one_pass_fits", lambda *_: False)
    return request.param


@pytest.mark.parametrize("chunk", [1, 7, 64, 199, 200, 1024])
def test_pieces_equal_one_forward(model, tokens, chunk, passes, monkeypatch):
    binding.patch(model, read_rope(model.config))
    expected, calls, forward = plain_nll(model, tokens), [], model.model.forward

    def counted(*args, **kwargs):
        calls.append(kwargs["input_ids"].shape[1])
        return forward(*args, **kwargs)

    has_plain_head(model)  # which looks once,
    reads_in_pieces(model)  # and so does this
    monkeypatch.setattr(model.model, "forward", counted)
    np.testing.assert_allclose(nll.token_nll(model, tokens, chunk=chunk), expected, atol=2e-4)
    assert sum(calls) == 199
    assert len(calls) == (1 if passes == "one pass" else -(-199 // chunk))


def test_one_pass_serves_every_shorter_length(model, tokens):
    binding.patch(model, methods.yarn(read_rope(model.config), factor=4.0))
    whole = nll.token_nll(model, tokens)
    for length in (2, 33, 150):
        np.testing.assert_allclose(whole[: length - 1], plain_nll(model, tokens[:length]), atol=2e-4)


@pytest.mark.parametrize("family", ["gemma2", "cohere", "granite", "mistral"])
def test_families_that_scale_their_logits_or_slide_their_window(family, tokens, passes):
    config = AutoConfig.for_model(
        family,
        vocab_size=50,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    if hasattr(config, "sliding_window"):
        config.sliding_window = 48
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    np.testing.assert_allclose(nll.token_nll(model, tokens, chunk=40), plain_nll(model, tokens), atol=2e-4)
    assert has_plain_head(model) == (family == "mistral")


def test_a_pass_that_does_not_fit_goes_in_chunks(model, monkeypatch):
    assert nll.one_pass_fits(model, 1, 1000)
    monkeypatch.setattr(nll, "free_memory", lambda device: 1_000_000)
    assert not nll.one_pass_fits(model, 1, 1000)
    assert nll.one_pass_fits(model, 1, 100)


def test_a_dynamic_rope_is_run_at_each_length(model, tokens):
    rope = methods.dynamic_ntk(read_rope(model.config), factor=2.0)
    rows = nll.score(model, rope, [nll.Text("c", "d", tokens)], [32, 64, 128])
    assert sorted(rows["pass_length"].unique()) == [32, 64, 128]
    native = model.config.__class__(**{**model.config.to_dict(), "rope_parameters": None})
    native.rope_parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    reference = AutoModelForCausalLM.from_config(native, dtype=torch.float32).eval()
    reference.load_state_dict(model.state_dict())
    for length in (32, 64, 128):
        expected = plain_nll(reference, tokens[:length]).mean()
        assert document_nll(rows, length).item() == pytest.approx(expected, abs=1e-4)


def test_a_static_rope_takes_one_pass(model, tokens):
    rope = read_rope(model.config)
    rows = nll.score(model, rope, [nll.Text("c", "d", tokens)], [32, 128])
    assert rows["pass_length"].unique().tolist() == [128]
    assert rows["position"].tolist() == list(range(1, 128))


def test_too_little_text_is_said(model, tokens):
    with pytest.raises(UserError, match="a text of 1 tokens has nothing to predict"):
        nll.token_nll(model, tokens[:1])
    with pytest.raises(UserError, match="document 'd' of c has 200 tokens; expected at least 400"):
        nll.score(model, read_rope(model.config), [nll.Text("c", "d", tokens)], [400])


@pytest.mark.parametrize(
    ("said", "raised", "match"),
    [
        (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
            UserError,
            "memory ran out at a length of 200 tokens",
        ),
        # It speaks of memory, and there is no lack of it.
        ("unsupported memory format option Contiguous", RuntimeError, "memory format"),
    ],
)
def test_running_out_of_memory_alone_is_one_sentence(model, tokens, monkeypatch, said, raised, match):
    def forward(*args, **kwargs):
        raise RuntimeError(said)

    monkeypatch.setattr(model.model, "forward", forward)
    with pytest.raises(raised, match=match):
        nll.token_nll(model, tokens, chunk=64)


def test_a_length_beyond_memory_is_refused_before_anything_runs(model):
    with pytest.raises(UserError, match=r"a length of 100000000000 tokens needs [\d.]+ GiB .*; [\d.]+ GiB are free"):
        nll.check_memory(model, 100_000_000_000, 1024)
    nll.check_memory(model, 200, 1024)


def test_memory_is_looked_at_before_a_pass(model, tokens, monkeypatch):
    monkeypatch.setattr(nll, "free_memory", lambda device: 1024)
    with pytest.raises(UserError, match=r"a length of 128 tokens needs .*; 0\.0 GiB are free"):
        nll.score(model, read_rope(model.config), [nll.Text("c", "d", tokens)], [32, 128])


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "corpus": ["a", "a"],
            "document": ["x", "x"],
            "position": np.array([1, 2], dtype=np.int32),
            "nll": np.array([1.25, 0.1], dtype=np.float32),
            "pass_length": np.array([3, 3], dtype=np.int32),
        }
    )


def test_parquet_round_trip_is_exact(tmp_path):
    nll_file.write_nll(tmp_path / "nll.parquet", rows(), {"split": "test"})
    back, metadata = nll_file.read_nll(tmp_path / "nll.parquet")
    assert metadata == {"split": "test"}
    assert (back["nll"].to_numpy() == rows()["nll"].to_numpy()).all()
    assert back["nll"].dtype == np.float32
    assert back["position"].tolist() == [1, 2]


def test_damaged_missing_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "nll.parquet"
    with pytest.raises(UserError, match="no such file"):
        nll_file.read_nll(path)
    nll_file.write_nll(path, rows(), {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"nll\.parquet is damaged or no parquet file"):
        nll_file.read_nll(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(UserError, match="is no nll.parquet: it lacks corpus, document"):
        nll_file.read_nll(path)


def test_values_that_are_not_finite_are_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "nll.parquet"
    nll_file.write_nll(path, rows(), {"kept": True})
    bad = rows()
    bad.loc[1, "nll"] = np.nan
    with pytest.raises(UserError, match="1 NLL values are not finite, the first at position 2 of document 'x'"):
        nll_file.write_nll(path, bad, {})
    assert nll_file.read_nll(path)[1] == {"kept": True}


@pytest.mark.parametrize(("length", "window"), [(200, 32), (199, 32), (64, 32), (32, 32), (150, 6)])
def test_window_nll_sees_half_to_a_whole_window(model, tokens, length, window):
    binding.patch(model, read_rope(model.config))
    found = nll.window_nll(model, tokens[:length], window, chunk=64)
    assert found.shape == (length - 1,)
    stride = window // 2
    for position in (1, stride, window - 1, window, length // 2, length - 1):
        if position >= length:
            continue
        # The window that scores a position: the last of those on the grid in whose second half it lies.
        start = 0 if position < window else (position - stride) // stride * stride
        if start + window > length:
            start = length - window
        wanted = plain_nll(model, tokens[start : start + window])[position - start - 1]
        assert found[position - 1] == pytest.approx(wanted, abs=2e-4), position
        assert position - start >= stride or start == 0


def test_a_window_travels_beside_the_nll(model, tokens, tmp_path):
    rope = read_rope(model.config)
    rows = nll.score(model, rope, [nll.Text("c", "d", tokens)], [64, 128], window=32)
    assert (rows["window_nll"][:31] - rows["nll"][:31]).abs().max() < 1e-4, "nothing was cut off yet"
    assert (rows["window_nll"][40:] - rows["nll"][40:]).abs().max() > 1e-3
    nll_file.write_nll(tmp_path / "nll.parquet", rows, {})
    back, _ = nll_file.read_nll(tmp_path / "nll.parquet")
    assert back["window_nll"].tolist() == rows["window_nll"].tolist()
    changing = methods.dynamic_ntk(rope, factor=2.0)
    with pytest.raises(UserError, match="a rope that changes with the length has no table for a window"):
        nll.score(model, changing, [nll.Text("c", "d", tokens)], [64, 128], window=32)
    for window in (31, 130):
        with pytest.raises(UserError, match=f"window is {window}; expected an even number of 2 to 128 tokens"):
            nll.score(model, rope, [nll.Text("c", "d", tokens)], [64, 128], window=window)


@pytest.mark.parametrize(("window", "stride"), [(32, 8), (33, 5), (40, 30)])
def test_a_stride_of_its_own_shows_each_token_more_or_less_of_the_window(model, tokens, window, stride):
    binding.patch(model, read_rope(model.config))
    found = nll.window_nll(model, tokens[:150], window, stride=stride, chunk=64)
    for position in (1, window - 1, window, window + stride, 120, 149):
        # The first window on the grid that ends behind the position, or the last one, which ends with the text.
        start = min(-(-max(0, position + 1 - window) // stride) * stride, 150 - window)
        if position >= 150 - stride and position >= window:
            start = 150 - window
        wanted = plain_nll(model, tokens[start : start + window])[position - start - 1]
        assert found[position - 1] == pytest.approx(wanted, abs=2e-4), position
        assert window - stride <= position - start < window or start == 0
    half = nll.window_nll(model, tokens, 32)
    assert (nll.window_nll(model, tokens, 32, stride=16) == half).all(), "half a window where none is given"


def test_a_stride_without_a_window_or_beyond_it_is_refused(model, tokens):
    rope, text = read_rope(model.config), [nll.Text("c", "d", tokens)]
    with pytest.raises(UserError, match="window stride is 8; expected a window to go with it"):
        nll.score(model, rope, text, [64], stride=8)
    with pytest.raises(UserError, match="window stride is 32; expected 1 to 31 tokens, fewer than the window"):
        nll.score(model, rope, text, [64], window=32, stride=32)
