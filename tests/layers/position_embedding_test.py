import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.layers import (
    PositionEncodingGenerator,
    SpatialBias,
    SpatialPositionEmbedding,
    alibi_slopes,
    rotary_embedding,
    sinusoidal_embedding,
)
from genie_tf.testing.layer_test import run_layer_test


def test_layer():
    run_layer_test(SpatialPositionEmbedding, {}, (2, 3, 4, 8))


def test_patches_have_different_embeddings():
    added = ops.convert_to_numpy(SpatialPositionEmbedding()(np.zeros((1, 1, 6, 8))))
    distances = np.linalg.norm(added[0, 0, :, None] - added[0, 0, None], axis=-1)
    assert distances[~np.eye(6, dtype=bool)].min() > 1e-2


def test_embeddings_are_equal_in_all_frames_and_videos():
    tokens = np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype("float32")
    added = SpatialPositionEmbedding()(tokens) - tokens
    np.testing.assert_allclose(
        added, np.broadcast_to(added[:1, :1], added.shape), atol=1e-6
    )


def test_product_of_rotated_vectors_depends_on_difference_of_positions():
    query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 8)).astype("float32")

    def product(query_at, key_at):
        rotated_query = rotary_embedding(query, np.array([query_at]))
        rotated_key = rotary_embedding(key, np.array([key_at]))
        return float(ops.sum(rotated_query * rotated_key))

    for difference in (0, 1, 7):
        expected = product(difference, 0)
        for start in (1, 5, 1000):
            assert product(start + difference, start) == pytest.approx(
                expected, abs=1e-3
            )
    differences = [product(difference, 0) for difference in range(-4, 5)]
    assert np.diff(np.sort(differences)).min() > 1e-3


def test_rotation_keeps_lengths_and_does_not_change_position_0():
    vectors = np.random.default_rng(0).normal(size=(2, 5, 3, 8)).astype("float32")
    rotated = ops.convert_to_numpy(rotary_embedding(vectors, np.arange(5)))
    np.testing.assert_allclose(rotated[:, 0], vectors[:, 0], rtol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(rotated, axis=-1), np.linalg.norm(vectors, axis=-1), rtol=1e-5
    )
    assert (np.abs(rotated - vectors)[:, 1:].max(axis=(0, 2, 3)) > 0.1).all()


def test_rotation_is_computed_in_float32():
    # In bfloat16, position 1001 would round to 1000.
    vectors = ops.ones((1, 2, 1, 4), "bfloat16")
    rotated = rotary_embedding(vectors, np.array([1000, 1001]))
    assert keras.backend.standardize_dtype(rotated.dtype) == "bfloat16"
    exact = rotary_embedding(ops.ones((1, 2, 1, 4)), np.array([1000, 1001]))
    np.testing.assert_allclose(ops.cast(rotated, "float32"), exact, atol=0.01)
    assert float(ops.max(ops.abs(exact[0, 0] - exact[0, 1]))) > 0.1


def test_sinusoidal_embedding_equals_its_definition():
    positions = np.array([[0, 1], [7, 4321]])
    waves = ops.convert_to_numpy(sinusoidal_embedding(positions, 5))
    for index in np.ndindex(2, 2):
        for feature in range(5):
            angle = positions[index] / 10_000 ** (feature // 2 * 2 / 5)
            wave = np.cos(angle) if feature % 2 else np.sin(angle)
            assert abs(waves[(*index, feature)] - wave) < 1e-3


def test_slopes_of_alibi_are_those_of_its_paper():
    np.testing.assert_allclose(alibi_slopes(8), 0.5 ** np.arange(1, 9))
    np.testing.assert_allclose(alibi_slopes(2), [1 / 16, 1 / 256])
    # Those of two heads, and the first of four.
    np.testing.assert_allclose(alibi_slopes(3), [1 / 16, 1 / 256, 1 / 4])


def test_position_encoding_generator_is_a_causal_convolution():
    grid, tokens = (2, 3), np.random.default_rng(0).normal(size=(1, 4, 6, 5))
    run_layer_test(PositionEncodingGenerator, {"grid": list(grid)}, (2, 4, 6, 5))
    layer = PositionEncodingGenerator(grid)
    outputs = ops.convert_to_numpy(layer(tokens.astype("float32")))
    layer.bias.assign(np.arange(5))
    kernel = ops.convert_to_numpy(layer.kernel)[..., 0]
    padded = np.pad(tokens[0].reshape(4, *grid, 5), [(2, 0), (1, 1), (1, 1), (0, 0)])
    for t, row, column in np.ndindex(4, *grid):
        seen = padded[t : t + 3, row : row + 3, column : column + 3]
        expected = padded[t + 2, row + 1, column + 1] + (seen * kernel).sum((0, 1, 2))
        np.testing.assert_allclose(outputs[0, t, 3 * row + column], expected, atol=1e-5)
    shifted = ops.convert_to_numpy(layer(tokens.astype("float32"))) - outputs
    np.testing.assert_allclose(shifted, np.arange(5) * np.ones_like(outputs), atol=1e-5)


def test_spatial_bias_depends_on_the_offset_only():
    rows, columns = 3, 4
    layer = SpatialBias((rows, columns), num_heads=2, hidden_dim=8)
    bias = ops.convert_to_numpy(layer.compute()).reshape(
        2, rows, columns, rows, columns
    )
    found = {}
    for row, column, other_row, other_column in np.ndindex(bias.shape[1:]):
        offset = row - other_row, column - other_column
        value = bias[:, row, column, other_row, other_column]
        np.testing.assert_array_equal(found.setdefault(offset, value), value)

    def leaky(x):
        return np.where(x > 0, x, 0.1 * x)

    assert len(found) == (2 * rows - 1) * (2 * columns - 1)
    for offset, value in found.items():
        hidden = np.sign(offset) * np.log1p(np.abs(offset))
        for dense in (layer.first, layer.second):
            hidden = leaky(hidden @ dense.kernel.numpy() + dense.bias.numpy())
        expected = hidden @ layer.to_bias.kernel.numpy() + layer.to_bias.bias.numpy()
        np.testing.assert_allclose(value, expected, atol=1e-5)
