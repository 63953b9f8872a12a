"""The decoder is held against T5 of transformers (without a position bias), and its rotation against Llama's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import T5Config
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Stack

from ropewalk.errors import UserError
from ropewalk.posgen.model import Cache, StackedDecoder, rotations, with_start
from ropewalk.posgen.options import PosGenOptions
from ropewalk.rope import default_rope
from ropewalk.rope.methods import apply
from ropewalk.rope.rope import Rope
from ropewalk.rope.tables import cos_sin

SIZES = PosGenOptions(modulus=7, starts="cycled", hidden_size=24, layers=2, heads=3, head_dim=8, intermediate_size=40)
ROPE = default_rope(8, 100.0, 16)
STILL = Rope(8, 100.0, 16, np.zeros(4))


def tokens(models: int, sequences: int = 3, length: int = 20, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 7, size=(models, sequences, length)))


def t5_of(decoder: StackedDecoder, model: int) -> T5Stack:
    """The decoder stack of transformers with the weights of one model; its position bias is zero."""
    options = decoder.options
    config = T5Config(
        vocab_size=decoder.options.vocabulary,
        d_model=options.hidden_size,
        d_kv=options.head_dim,
        d_ff=options.intermediate_size,
        num_layers=options.layers,
        num_heads=options.heads,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        is_encoder_decoder=False,
        is_decoder=True,
        use_cache=False,
    )
    stack = T5Stack(config).eval()
    inner = options.heads * options.head_dim
    with torch.no_grad():
        stack.embed_tokens.weight.copy_(decoder.embedding[model])
        stack.final_layer_norm.weight.copy_(decoder.norm[model, 0])
        for block, layer in zip(stack.block, decoder.layers, strict=True):
            attention, feed = block.layer[0], block.layer[-1]
            if attention.SelfAttention.has_relative_attention_bias:
                attention.SelfAttention.relative_attention_bias.weight.zero_()
            # The cross-attention of an encoder-decoder model has no part in a decoder alone.
            attention.layer_norm.weight.copy_(layer.attention_norm[model, 0])
            projections = layer.query_key_value[model].split(inner, dim=1)
            for name, weight in zip("qkv", projections, strict=True):
                getattr(attention.SelfAttention, name).weight.copy_(weight.T)
            attention.SelfAttention.o.weight.copy_(layer.output[model].T)
            feed.layer_norm.weight.copy_(layer.feed_forward_norm[model, 0])
            feed.DenseReluDense.wi.weight.copy_(layer.up[model].T)
            feed.DenseReluDense.wo.weight.copy_(layer.down[model].T)
    return stack


def test_without_turns_it_is_the_decoder_of_t5():
    decoder = StackedDecoder(SIZES, [3, 4])
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms too
    ids = tokens(2)
    ours = decoder(ids, rotations([STILL, STILL], 20))
    for model in range(2):
        hidden = t5_of(decoder, model)(input_ids=ids[model]).last_hidden_state
        theirs = hidden * SIZES.hidden_size**-0.5 @ decoder.embedding[model].T
        torch.testing.assert_close(ours[model], theirs, rtol=1e-4, atol=1e-5)


def test_turns_are_those_of_transformers_on_the_same_pairs():
    rope = apply(ROPE, "yarn", factor=4.0)
    [table] = rotations([rope], 30)
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 30, 8, generator=generator)
    pairs = [torch.view_as_complex(x.unflatten(-1, (4, 2)).contiguous()) for x in (query, key)]
    ours = [torch.view_as_real(x * table[:, i]).flatten(-2) for i, x in enumerate(pairs)]
    # Llama pairs dimension i with i + d/2 where we pair neighbours.
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    cos, sin = (torch.from_numpy(np.tile(part, 2))[None] for part in cos_sin(rope, np.arange(30)))
    theirs = apply_rotary_pos_emb(query[..., order], key[..., order], cos, sin)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[..., order], other)


def test_a_map_of_positions_is_refused():
    with pytest.raises(UserError, match="a rope of PosGen has a map of positions .self_extend."):
        rotations([apply(ROPE, "self_extend", window=8, group=4)], 16)


def test_log_scaling_multiplies_the_queries_beyond_its_length():
    rope = apply(ROPE, "log_scaling", length=4)
    table, plain = rotations([rope], 20)[0], rotations([ROPE], 20)[0]
    growth = (table[:, 0] / plain[:, 0]).real
    expected = np.maximum(1, np.log(np.arange(1, 21)) / np.log(4))
    np.testing.assert_allclose(growth, np.tile(expected[:, None], (1, 4)), rtol=1e-5)
    torch.testing.assert_close(table[:, 1], plain[:, 1])


def test_rounded_wavelengths_repeat_to_the_last_bit():
    table = rotations([apply(ROPE, "resonance")], 4000)[0, :, 1]
    for pair, wavelength in enumerate(np.round(ROPE.wavelengths).astype(int)):
        assert torch.equal(table[wavelength:, pair], table[:-wavelength, pair])


def test_a_dynamic_rope_is_taken_at_the_length_read():
    rope = apply(ROPE, "dynamic_ntk", factor=2.0)
    assert torch.equal(rotations([rope], 64), rotations([rope.at(64)], 64))
    assert not torch.equal(rotations([rope], 64)[:, :16], rotations([rope], 16))


def test_a_model_does_not_see_what_comes_later_nor_its_neighbours():
    decoder, ids = StackedDecoder(SIZES, [1, 2]), tokens(2)
    table = rotations([ROPE, ROPE], 20)
    before = decoder(ids, table)
    changed = ids.clone()
    changed[0, :, 12:] = 0
    changed[1] = 0
    after = decoder(changed, table)
    torch.testing.assert_close(after[0, :, :12], before[0, :, :12])
    assert not torch.allclose(after[0, :, 12:], before[0, :, 12:])


def test_a_model_is_the_same_alone():
    both, alone = StackedDecoder(SIZES, [5, 6]), StackedDecoder(SIZES, [6])
    for stacked, single in zip(both.parameters(), alone.parameters(), strict=True):
        assert torch.equal(stacked[1:], single)
    chosen = both.select([1, 0, 1])
    ids = tokens(1)
    logits = chosen(ids.expand(3, -1, -1), rotations([ROPE] * 3, 20))
    torch.testing.assert_close(logits[0], alone(ids, rotations([ROPE], 20))[0])
    torch.testing.assert_close(logits[2], logits[0])


def test_weights_are_drawn_with_the_deviations_of_t5():
    decoder = StackedDecoder(PosGenOptions(), [0])
    inner, layer = 512, decoder.layers[0]
    query, key, value = layer.query_key_value[0].split(inner, dim=1)
    deviations = {
        (512 * 64) ** -0.5: query,
        512**-0.5: torch.cat([key, value, layer.up[0]], dim=1),
        inner**-0.5: layer.output,
        2048**-0.5: layer.down,
        1.0: decoder.embedding,
    }
    for deviation, weight in deviations.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    trained = sum(p.numel() for p in decoder.parameters())
    # Two layers of the released code have 2,110,208 trained and 4,195,328 frozen parameters; 256 of the former are the
    # 32 position biases of T5 for 8 heads.
    assert trained == 2_110_208 - 256 + 4_195_328
    decoder.freeze_feed_forward()
    assert sum(p.numel() for p in decoder.parameters() if p.requires_grad) == 2_110_208 - 256


def test_a_cache_gives_the_logits_of_a_whole_pass():
    decoder, ids, table = StackedDecoder(SIZES, [1]), tokens(1), rotations([ROPE], 20)
    whole = decoder(ids, table)
    caches = [Cache(20) for _ in decoder.layers]
    parts = [decoder(ids[:, :, :5], table[:, :5], caches=caches)]
    parts += [decoder(ids[:, :, i : i + 1], table[:, i : i + 1], caches=caches) for i in range(5, 20)]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole)


def test_a_sequence_begins_with_a_token_of_its_own():
    assert with_start(torch.tensor([[[1, 2, 3]]]), 7).tolist() == [[[7, 1, 2]]]


def test_dropout_drops():
    decoder, ids, table = StackedDecoder(SIZES, [1]), tokens(1), rotations([ROPE], 20)
    torch.manual_seed(0)
    one = decoder(ids, table, dropout=0.1)
    assert not torch.allclose(one, decoder(ids, table, dropout=0.1))
    assert torch.equal(decoder(ids, table), decoder(ids, table))


def test_a_rotation_of_real_numbers_turns_as_a_complex_one_does():
    decoder = StackedDecoder(SIZES, [0, 1])
    rotation = rotations([ROPE, apply(ROPE, "yarn", factor=4.0)], 20)
    expected = decoder(tokens(2), rotation)
    torch.testing.assert_close(decoder(tokens(2), torch.view_as_real(rotation)), expected, atol=1e-5, rtol=1e-5)
    assert (decoder(tokens(2), rotation.conj().resolve_conj()) - expected).abs().max() > 1e-3
