"""Methods that a tokenizer inherits."""

import numpy as np
import pytest
from keras import ops

from genie_tf.models import Tokenizer

B, T, GRID, K = 2, 3, (2, 3), 4


class Stripes(Tokenizer):
    """Tokenizer with one token per gray pixel, and independent frames."""

    frame_shape = (*GRID, 1)
    grid = GRID
    num_codes = K
    code_dim = 1

    def call(self, video):
        tokens = self.tokenize(video)
        return {"reconstruction": self.detokenize(tokens), "indices": tokens}

    def tokenize(self, video):
        tokens = ops.round(ops.cast(video, "float32") * (K - 1))
        return ops.reshape(ops.cast(tokens, "int32"), (-1, video.shape[1], 6))

    def detokenize(self, tokens):
        gray = (self.lookup(tokens) + 1) / 2
        return ops.reshape(gray, (-1, tokens.shape[1], *self.frame_shape))

    def lookup(self, tokens):
        return 2 * ops.cast(tokens, "float32")[..., None] / (K - 1) - 1


@pytest.fixture(scope="module")
def tokenizer():
    return Stripes()


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(K, size=(B, T, 6)).astype("int32")


def test_independent_frames_are_decoded_without_cache(tokenizer, tokens):
    video = tokenizer.detokenize(tokens)
    cache = tokenizer.empty_cache(B)
    assert cache == ()
    for t in range(T):
        position = np.full(B, t, "int32")
        frame, cache = tokenizer.detokenize_step(tokens[:, t], cache, position)
        np.testing.assert_array_equal(frame, video[:, t])
    assert cache == ()
    assert tokenizer.sees_one_frame and tokenizer.cache_bytes({}) == 0


def test_sizes_follow_from_grid(tokenizer):
    assert tokenizer.num_patches == 6
    assert tokenizer.grid_shape == (2, 3, 1)


def test_codes_are_lookup_of_all_tokens(tokenizer, tokens):
    codes = ops.convert_to_numpy(tokenizer.codes())
    np.testing.assert_allclose(codes[:, 0], [-1, -1 / 3, 1 / 3, 1], rtol=1e-6)
    np.testing.assert_array_equal(tokenizer.lookup(tokens), codes[tokens])


def test_codes_as_video_have_one_pixel_per_token(tokenizer, tokens):
    video = ops.convert_to_numpy(tokenizer.codes_as_video(tokens))
    assert video.shape == (B, T, *GRID, 1)
    np.testing.assert_allclose(video, tokens.reshape(video.shape) / (K - 1), atol=1e-6)


def test_reconstruct_returns_reconstruction_of_call(tokenizer, tokens):
    video = ops.convert_to_numpy(tokenizer.detokenize(tokens))
    np.testing.assert_allclose(tokenizer.reconstruct({"video": video}), video)
    np.testing.assert_array_equal(tokenizer(video)["indices"], tokens)


def test_defaults_without_codebook_are_empty(tokenizer):
    assert tokenizer.training_inputs(np.random.default_rng(0), {}) == {}
    assert tokenizer.codebook_metrics({}) == {}
    tokenizer.update_codebooks({})
    assert tokenizer.parts() == {"tokenizer": tokenizer}
    assert tokenizer.about() == {}
