import numpy as np
import pytest
from keras import ops

from genie_tf.layers import (
    CausalSpaceTimeAttention,
    CausalTemporalAttention,
    SpatialAttention,
)
from genie_tf.testing.layer_test import run_layer_test

# Axes: b batch, t time, n patches, d model dim, h heads, k head dim.
B, T, N, D = 2, 5, 3, 8


def random_tokens(shape=(B, T, N, D), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def changed_by(layer, tokens, where):
    """Return which outputs (b, t, n) change with the tokens at index `where`."""
    other = tokens.copy()
    other[where] += 1
    change = ops.convert_to_numpy(layer(other) - layer(tokens))
    return np.abs(change).max(axis=-1) > 1e-5


def reference_attention(layer, tokens, visible, positions):
    """Compute attention of one sequence (t, d) in NumPy, token by token."""
    h, k = layer.num_heads, layer.head_dim
    projections = tokens @ layer.to_qkv.kernel.numpy()
    query, key, value = projections.reshape(-1, h, 3, k).transpose(2, 0, 1, 3)
    if layer.qk_norm:
        query, key = (x / np.sqrt((x**2).mean(-1, keepdims=True)) for x in (query, key))

    def rotate(vector, position):
        angle = position / 10_000 ** (np.arange(k // 2) / (k // 2))
        pairs = vector[: k // 2] + 1j * vector[k // 2 :]
        pairs = pairs * np.exp(1j * angle)
        return np.concatenate([pairs.real, pairs.imag])

    outputs = []
    for i in range(len(tokens)):
        heads = []
        for head in range(h):
            others = [j for j in range(len(tokens)) if visible(i, j)]
            logits = [
                rotate(query[i, head], positions[i])
                @ rotate(key[j, head], positions[j])
                for j in others
            ]
            weights = np.exp(np.array(logits) / np.sqrt(k))
            heads.append(weights / weights.sum() @ value[others, head])
        outputs.append(np.concatenate(heads))
    return np.array(outputs) @ layer.to_output.kernel.numpy()


@pytest.mark.parametrize(
    "attention, window",
    [
        (SpatialAttention, {}),
        (CausalTemporalAttention, {"window": 3}),
        (CausalSpaceTimeAttention, {"window": 3}),
    ],
)
def test_layer(attention, window):
    arguments = {"num_heads": 2, "head_dim": 6, "qk_norm": True, **window}
    run_layer_test(attention, arguments, (B, T, N, D))


@pytest.mark.parametrize("qk_norm", [False, True])
def test_spatial_attention_equals_its_definition(qk_norm):
    layer = SpatialAttention(num_heads=2, head_dim=6, qk_norm=qk_norm)
    tokens = random_tokens()
    outputs = ops.convert_to_numpy(layer(tokens))
    for b in range(B):
        for t in range(T):
            expected = reference_attention(
                layer, tokens[b, t], lambda i, j: True, positions=np.zeros(N)
            )
            np.testing.assert_allclose(outputs[b, t], expected, atol=1e-5)


@pytest.mark.parametrize("window, qk_norm", [(1, False), (3, False), (3, True)])
def test_temporal_attention_equals_its_definition(window, qk_norm):
    layer = CausalTemporalAttention(2, 6, qk_norm=qk_norm, window=window)
    tokens = random_tokens()
    outputs = ops.convert_to_numpy(layer(tokens))
    for b in range(B):
        for n in range(N):
            expected = reference_attention(
                layer,
                tokens[b, :, n],
                lambda i, j: 0 <= i - j < window,
                positions=np.arange(T),
            )
            np.testing.assert_allclose(outputs[b, :, n], expected, atol=1e-5)


@pytest.mark.parametrize("window, qk_norm", [(1, False), (3, False), (16, True)])
def test_space_time_attention_equals_its_definition(window, qk_norm):
    layer = CausalSpaceTimeAttention(2, 6, qk_norm=qk_norm, window=window)
    tokens = random_tokens()
    outputs = ops.convert_to_numpy(layer(tokens))
    frame = np.repeat(np.arange(T), N)
    for b in range(B):
        expected = reference_attention(
            layer,
            tokens[b].reshape(T * N, D),
            lambda i, j: 0 <= frame[i] - frame[j] < window,
            positions=frame,
        )
        np.testing.assert_allclose(outputs[b].reshape(T * N, D), expected, atol=1e-5)


def test_spatial_attention_does_not_mix_frames():
    layer = SpatialAttention(num_heads=2, head_dim=4)
    changed = changed_by(layer, random_tokens(), (0, 2, 1))
    expected = np.zeros((B, T, N), bool)
    expected[0, 2] = True  # every patch of the frame
    np.testing.assert_array_equal(changed, expected)


def test_temporal_attention_does_not_mix_patch_positions():
    layer = CausalTemporalAttention(num_heads=2, head_dim=4)
    changed = changed_by(layer, random_tokens(), (0, 1, 2))
    expected = np.zeros((B, T, N), bool)
    # Frames 1 and later: a patch attends to itself one frame ago.
    expected[0, 1:, 2] = True
    np.testing.assert_array_equal(changed, expected)


def test_temporal_mask_with_window_3():
    layer = CausalTemporalAttention(num_heads=2, head_dim=4, window=3)
    tokens = random_tokens((1, 5, 1, D))
    mask = [changed_by(layer, tokens, (0, t))[0, :, 0] for t in range(5)]
    np.testing.assert_array_equal(
        np.transpose(mask).astype(int),  # A row per query frame.
        [
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [0, 1, 1, 1, 0],
            [0, 0, 1, 1, 1],
        ],
    )


def test_temporal_mask_with_window_1_and_window_longer_than_video():
    tokens = random_tokens((1, 3, 1, D))
    for window, expected in ((1, np.eye(3)), (8, np.tri(3))):
        layer = CausalTemporalAttention(num_heads=2, head_dim=4, window=window)
        mask = [changed_by(layer, tokens, (0, t))[0, :, 0] for t in range(3)]
        np.testing.assert_array_equal(np.transpose(mask), expected)


def test_order_of_the_past_matters():
    layer = CausalTemporalAttention(num_heads=2, head_dim=4)
    tokens = random_tokens((1, 3, 1, D))
    swapped = tokens[:, [1, 0, 2]]
    assert np.abs(layer(tokens)[:, 2] - layer(swapped)[:, 2]).max() > 1e-3


@pytest.mark.parametrize(
    "attention", [CausalTemporalAttention, CausalSpaceTimeAttention]
)
@pytest.mark.parametrize("window, qk_norm", [(1, False), (3, True), (16, False)])
def test_steps_equal_call(attention, window, qk_norm):
    frames = 5  # Longer than windows of 1 and 3, so that slots are reused.
    layer = attention(2, 4, qk_norm=qk_norm, window=window)
    tokens = random_tokens((B, frames, N, D))
    expected = ops.convert_to_numpy(layer(tokens))
    cache = layer.empty_cache(B, N)
    for t in range(frames):
        position = np.full(B, t, "int32")
        # A frame that is not written has no effect.
        layer.step(random_tokens((B, 1, N, D), seed=t), cache, position)
        outputs, entry = layer.step(tokens[:, t : t + 1], cache, position)
        cache = layer.write(cache, entry, position)
        np.testing.assert_allclose(outputs, expected[:, t : t + 1], atol=1e-5)


@pytest.mark.parametrize(
    "attention", [CausalTemporalAttention, CausalSpaceTimeAttention]
)
def test_videos_of_a_batch_can_differ_in_age(attention):
    layer = attention(2, 4, window=3)
    tokens = random_tokens((B, 7, N, D))
    expected = ops.convert_to_numpy(layer(tokens))
    cache = layer.empty_cache(B, N)
    for t in range(5):
        # The second video is two frames ahead; these are written at t == 0.
        position = np.array([t, t + 2], "int32")
        frame = np.stack([tokens[0, t : t + 1], tokens[1, t + 2 : t + 3]])
        if t == 0:
            for early in range(2):
                past = np.full(B, early, "int32")
                _, entry = layer.step(tokens[:, early : early + 1], cache, past)
                cache = layer.write(cache, entry, past)
        outputs, entry = layer.step(frame, cache, position)
        cache = layer.write(cache, entry, position)
        np.testing.assert_allclose(outputs[0, 0], expected[0, t], atol=1e-5)
        np.testing.assert_allclose(outputs[1, 0], expected[1, t + 2], atol=1e-5)


@pytest.mark.parametrize("attention", [SpatialAttention, CausalTemporalAttention])
def test_width_of_heads_can_differ_from_model_width(attention):
    layer = attention(num_heads=3, head_dim=10)
    assert layer(random_tokens()).shape == (B, T, N, D)
    assert layer.to_qkv.kernel.shape == (D, 3 * 3 * 10)
    assert layer.to_output.kernel.shape == (3 * 10, D)


@pytest.mark.parametrize("attention", [SpatialAttention, CausalTemporalAttention])
def test_qk_norm_removes_scale_of_queries_and_keys(attention):
    tokens = random_tokens()
    for qk_norm in (True, False):
        layer = attention(num_heads=2, head_dim=4, qk_norm=qk_norm)
        before = ops.convert_to_numpy(layer(tokens))
        # The columns of each head are queries, then keys, then values.
        scale = np.tile(np.repeat([1000, 1000, 1], 4), 2).astype("float32")
        layer.to_qkv.kernel.assign(layer.to_qkv.kernel * scale)
        difference = np.abs(ops.convert_to_numpy(layer(tokens)) - before).max()
        assert difference < 1e-3 if qk_norm else difference > 1e-2


@pytest.mark.parametrize("attention", [SpatialAttention, CausalTemporalAttention])
def test_qk_norm_bounds_logits(attention):
    layer = attention(num_heads=2, head_dim=4, qk_norm=True)
    layer(random_tokens())
    query, key, _ = layer.project(1000 * random_tokens()[:, 0])
    logits = ops.einsum("bihk,bjhk->bhij", query, key)
    # Both have root mean square 1, so length 2.
    assert float(ops.max(ops.abs(logits))) <= 4 + 1e-3


def test_alibi_lowers_logits_by_age():
    layer = CausalTemporalAttention(num_heads=2, head_dim=3, position="alibi")
    # Equal queries and keys: only the bias tells frames apart.
    layer.build((B, T, N, D))
    kernel = ops.convert_to_numpy(layer.to_qkv.kernel).reshape(D, 2, 3, 3).copy()
    kernel[:, :, :2] = 0
    layer.to_qkv.kernel.assign(kernel.reshape(D, -1))
    tokens = random_tokens()
    outputs = ops.convert_to_numpy(layer(tokens))
    values = np.einsum("btnd,dhk->btnhk", tokens, kernel[:, :, 2])
    for t in range(T):
        age = t - np.arange(t + 1)
        shares = np.exp(-np.array([1 / 16, 1 / 256])[:, None] * age)
        shares /= shares.sum(-1, keepdims=True)
        heads = np.einsum("hj,bjnhk->bnhk", shares, values[:, : t + 1])
        expected = heads.reshape(B, N, 6) @ layer.to_output.kernel.numpy()
        np.testing.assert_allclose(outputs[:, t], expected, atol=1e-5)


def test_keys_and_values_can_have_their_own_input():
    layer = SpatialAttention(num_heads=2, head_dim=3, own_context=True)
    tokens, context = random_tokens(), random_tokens(seed=1)
    outputs = ops.convert_to_numpy(layer(tokens, context))
    changed = ops.convert_to_numpy(layer(random_tokens(seed=2), context))
    assert np.abs(outputs - changed).max() > 1e-3
    # The output of a constant context is its value, whatever the queries are.
    context = np.broadcast_to(context[:, :, :1], context.shape)
    same = [ops.convert_to_numpy(layer(x, context)) for x in (tokens, 2 * tokens)]
    np.testing.assert_allclose(*same, atol=1e-5)


@pytest.mark.parametrize("bias, names", [("all", 2), ("output", 1), ("none", 0)])
def test_projections_with_a_bias(bias, names):
    layer = CausalTemporalAttention(num_heads=2, head_dim=4, window=1, bias=bias)
    tokens = random_tokens()
    layer.build(tokens.shape)
    biases = [v for v in layer.trainable_variables if v.name == "bias"]
    assert len(biases) == names
    for variable in biases:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    # In a window of one frame, the result is the value.
    value = layer.project(tokens.reshape(-1, 1, D))[2]
    expected = ops.reshape(layer.merge(value), tokens.shape)
    np.testing.assert_allclose(layer(tokens), expected, atol=1e-5)


@pytest.mark.parametrize("qk_norm, head_dim", [("unit", 5), ("unit", 64), (True, 64)])
def test_unit_norm_has_a_scale_and_products_times_8(qk_norm, head_dim):
    layer = SpatialAttention(1, head_dim, qk_norm, bias="none")
    tokens = random_tokens()
    layer.build(tokens.shape)
    rng = np.random.default_rng(0)
    for norm in (layer.query_norm, layer.key_norm):
        norm.scale.assign(rng.normal(size=head_dim))
    scales = layer.query_norm.scale.numpy() * layer.key_norm.scale.numpy()
    outputs = ops.convert_to_numpy(layer(tokens))
    query, key, value = np.split(tokens[0, 0] @ layer.to_qkv.kernel.numpy(), 3, -1)
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key)]
    shares = np.exp(8 * (unit[0] * scales) @ unit[1].T)
    shares /= shares.sum(-1, keepdims=True)
    expected = shares @ value @ layer.to_output.kernel.numpy()
    np.testing.assert_allclose(outputs[0, 0], expected, atol=1e-4)
