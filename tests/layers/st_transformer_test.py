import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.layers import STBlock, STTransformer
from genie_tf.testing.layer_test import run_layer_test

B, T, N, D = 2, 5, 3, 16


# The transformers of other implementations, see genie_tf/convert.
JAFAR = {
    "space_position": "sinusoidal",
    "time_position": "sinusoidal",
    "feed_forward": "single",
    "bias": "all",
    "entry": True,
    "last_norm": False,
}
JASMINE = {
    "space_position": "sinusoidal_input",
    "time_position": "sinusoidal_input",
    "bias": "all",
}
GENIEREDUX = {
    "space_position": "none",
    "time_position": "alibi",
    "peg": True,
    "space_bias_dim": 4,
    "grid": [1, N],
    "feed_forward": "geglu",
    "order": "tfsf",
    "bias": "none",
    "norm_keys": False,
}
OPTIONS = pytest.mark.parametrize(
    "options", [JAFAR, JASMINE, GENIEREDUX], ids=["jafar", "jasmine", "genieredux"]
)


def random_tokens(shape=(B, T, N, D), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def changed_by(layer, tokens, where):
    """Return which outputs (b, t, n) change with the tokens at index `where`."""
    other = tokens.copy()
    other[where] += random_tokens((D,), seed=1)  # Layer norm ignores a constant.
    change = ops.convert_to_numpy(layer(other) - layer(tokens))
    return np.abs(change).max(axis=-1) > 1e-5


def make_transformer(**arguments):
    return STTransformer(**{"dim": D, "num_blocks": 2, "num_heads": 2, **arguments})


@pytest.mark.parametrize(
    "layer, size, attention, window",
    [
        (STBlock, {}, "st", 3),
        (STBlock, {}, "st", 1),
        (STBlock, {}, "space", 3),
        (STBlock, {}, "space_time", 3),
        (STTransformer, {"dim": D, "num_blocks": 1}, "st", 3),
    ],
)
def test_layer(layer, size, attention, window):
    heads = {"num_heads": 2, "head_dim": 6, "qk_norm": True}
    sizes = {"mlp_dim": 40, "window": window, "attention": attention}
    arguments = {**size, **heads, **sizes}
    run_layer_test(layer, arguments, (B, T, N, D))


def test_block_has_one_feed_forward_after_both_attentions():
    block = STBlock(num_heads=2, head_dim=8, mlp_dim=40)
    tokens = random_tokens()
    outputs = block(tokens)
    attended = tokens + block.space(block.space_norm(tokens))
    attended = attended + block.time(block.time_norm(attended))
    expected = attended + block.feed_forwards[0](attended)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert np.abs(outputs - attended).max() > 1e-2

    shapes = sorted(
        tuple(v.shape) for v in block.trainable_variables if v.name == "kernel"
    )
    attention = [(D, 3 * 16), (16, D)]
    assert shapes == sorted([*attention, *attention, (D, 40), (40, D)])


@pytest.mark.parametrize(
    "attention, part", [("space", "space"), ("space_time", "time")]
)
def test_other_blocks_have_one_attention_and_one_feed_forward(attention, part):
    block = STBlock(num_heads=2, head_dim=8, mlp_dim=40, attention=attention)
    tokens = random_tokens()
    outputs = block(tokens)
    attend, norm = getattr(block, part), getattr(block, f"{part}_norm")
    attended = tokens + attend(norm(tokens))
    expected = attended + block.feed_forwards[0](attended)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    shapes = sorted(
        tuple(v.shape) for v in block.trainable_variables if v.name == "kernel"
    )
    assert shapes == sorted([(D, 3 * 16), (16, D), (D, 40), (40, D)])


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_spatial_attention_does_not_mix_frames(frame):
    transformer = make_transformer(attention="space")
    changed = changed_by(transformer, random_tokens(), (0, frame, 1))
    expected = np.zeros((B, T, N), bool)
    expected[0, frame] = True
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize("attention", ["st", "space_time"])
@pytest.mark.parametrize("frame", [0, 2, 4])
def test_frame_affects_only_itself_and_later_frames(frame, attention):
    transformer = make_transformer(attention=attention)
    changed = changed_by(transformer, random_tokens(), (0, frame, 1))
    expected = np.zeros((B, T, N), bool)
    expected[0, frame:] = True  # All patches: blocks mix space and time.
    np.testing.assert_array_equal(changed, expected)


def test_each_block_extends_context_by_its_window():
    transformer = make_transformer(num_blocks=2, window=2)
    changed = changed_by(transformer, random_tokens(), (0, 0))
    # Frame 1 attends to frame 0; in the second block, frame 2 attends to frame 1.
    np.testing.assert_array_equal(changed[0].all(axis=-1), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(changed[0].any(axis=-1), [1, 1, 1, 0, 0])


def test_positions_in_time_and_space_are_distinguished():
    # One token differs: at frame 0, patch 1, or at frame 1, patch 0.
    same = np.broadcast_to(random_tokens((D,)), (1, 3, 3, D))
    one, other = same.copy(), same.copy()
    one[0, 0, 1] = other[0, 1, 0] = random_tokens((D,), seed=1)
    transformer = make_transformer()
    # Frame 2, for which both are in the past.
    features = [ops.convert_to_numpy(transformer(x))[0, 2] for x in (one, other)]
    assert np.abs(features[0] - features[1]).max() > 1e-3
    # One grid is not the transpose of the other.
    grids = [ops.convert_to_numpy(transformer(x))[0] for x in (one, other)]
    assert np.abs(grids[0] - grids[1].transpose(1, 0, 2)).max() > 1e-3


def test_patches_of_equal_content_differ_only_by_position():
    tokens = np.broadcast_to(random_tokens((D,)), (1, 2, N, D))
    transformer = make_transformer()
    outputs = ops.convert_to_numpy(transformer(tokens))[0]
    for frame in outputs:
        assert np.abs(frame[0] - frame[1]).max() > 1e-3
    embedding = transformer.position.embedding
    embedding.assign(ops.zeros_like(embedding))
    outputs = ops.convert_to_numpy(transformer(tokens))[0]
    np.testing.assert_allclose(
        outputs, outputs[:1, :1] * np.ones_like(outputs), atol=1e-5
    )


@pytest.mark.parametrize(
    "attention, window, qk_norm",
    [
        ("st", 2, True),
        ("st", 16, False),
        ("space", 16, False),
        ("space_time", 2, True),
        ("space_time", 16, False),
    ],
)
def test_steps_equal_call(attention, window, qk_norm):
    check_steps_equal_call(qk_norm=qk_norm, window=window, attention=attention)


def check_steps_equal_call(**arguments):
    frames = 5
    transformer = make_transformer(**arguments)
    tokens = random_tokens((B, frames, N, D))
    expected = ops.convert_to_numpy(transformer(tokens))
    cache = transformer.empty_cache(B, N)
    for t in range(frames):
        position = np.full(B, t, "int32")
        outputs, entries = transformer.step(tokens[:, t : t + 1], cache, position)
        cache = transformer.write(cache, entries, position)
        np.testing.assert_allclose(outputs, expected[:, t : t + 1], atol=1e-4)


def test_default_width_of_heads_and_feed_forward():
    arguments = STTransformer(dim=24, num_blocks=1, num_heads=3).arguments()
    assert arguments["head_dim"] == 8
    assert arguments["mlp_dim"] == 96


def test_width_of_heads_can_differ_from_model_width():
    transformer = make_transformer(num_heads=3, head_dim=10)
    assert transformer(random_tokens()).shape == (B, T, N, D)
    assert transformer.blocks[0].space.to_output.kernel.shape == (30, D)


def test_heads_that_do_not_divide_width_are_rejected():
    with pytest.raises(
        ValueError, match="`num_heads` must divide `dim`.*received dim=16, num_heads=3"
    ):
        STTransformer(dim=16, num_blocks=1, num_heads=3)


def test_tokens_of_wrong_width_are_rejected():
    with pytest.raises(
        ValueError, match=r"width dim=16; received shape \(2, 5, 3, 8\)"
    ):
        make_transformer()(random_tokens((B, T, N, 8)))


def test_remat_does_not_change_gradients():
    def outputs_and_gradients(remat):
        keras.utils.set_random_seed(0)
        transformer = make_transformer(remat=remat)
        transformer.build((B, T, N, D))

        @tf.function(jit_compile=True)
        def run():
            with tf.GradientTape() as tape:
                outputs = transformer(random_tokens())
                loss = tf.reduce_sum(outputs**3)
            return outputs, *tape.gradient(loss, transformer.trainable_variables)

        return run()

    expected, recomputed = map(outputs_and_gradients, (False, True))
    for x, y in zip(recomputed, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


def test_unknown_attention_is_rejected():
    with pytest.raises(
        ValueError, match="one of st, space, space_time; received 'time'"
    ):
        make_transformer(attention="time")


@OPTIONS
def test_layer_with_options(options):
    heads = {"num_heads": 2, "head_dim": 6, "qk_norm": True, "mlp_dim": 10}
    arguments = {"dim": D, "num_blocks": 2, **heads, "window": 3, "options": options}
    run_layer_test(STTransformer, arguments, (B, T, N, D), mixed_tolerance=0.2)


@OPTIONS
@pytest.mark.parametrize("frame", [0, 2, 4])
def test_frame_affects_only_later_frames_with_options(frame, options):
    transformer = make_transformer(options=options)
    changed = changed_by(transformer, random_tokens(), (0, frame, 1))
    expected = np.zeros((B, T, N), bool)
    expected[0, frame:] = True
    np.testing.assert_array_equal(changed, expected)


@OPTIONS
@pytest.mark.parametrize("window", [1, 2, 16])
def test_steps_equal_call_with_options(window, options):
    check_steps_equal_call(window=window, options=options)


@OPTIONS
def test_patches_and_frames_are_distinguished_with_options(options):
    tokens = np.broadcast_to(random_tokens((D,)), (1, 4, N, D))
    transformer = make_transformer(options=options)
    outputs = ops.convert_to_numpy(transformer(tokens))[0]
    assert np.abs(outputs[0, 0] - outputs[0, 1]).max() > 1e-3
    assert np.abs(outputs[0, 0] - outputs[1, 0]).max() > 1e-3


def test_entry_takes_any_width():
    transformer = make_transformer(options={"entry": True})
    assert transformer(random_tokens((B, T, N, 7))).shape == (B, T, N, D)


def test_feed_forwards_follow_each_attention():
    options = {"order": "sftf"}
    block = STBlock(num_heads=2, head_dim=8, mlp_dim=40, options=options)
    tokens = random_tokens()
    outputs = block(tokens)
    expected = tokens + block.space(block.space_norm(tokens))
    expected = expected + block.feed_forwards[0](expected)
    expected = expected + block.time(block.time_norm(expected))
    expected = expected + block.feed_forwards[1](expected)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
