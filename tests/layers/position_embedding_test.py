import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.layers import SpatialPositionEmbedding, rotary_embedding
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
