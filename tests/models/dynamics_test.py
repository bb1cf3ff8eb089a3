"""Methods that a dynamics inherits."""

import numpy as np
import pytest
from keras import ops

from genie_tf.models import Dynamics
from genie_tf.testing.tiny_models import tiny_tokenizer

B, T, N, K = 2, 3, 4, 24


class Guess(Dynamics):
    """Dynamics without a call; the loss counts all frames except the first."""

    def __init__(self, num_codes, num_patches, action_dim, power=1, **kwargs):
        super().__init__(**kwargs)
        self.num_codes, self.num_patches = num_codes, num_patches
        self.action_dim, self.power = action_dim, power

    def scored(self, tokens, batch):
        frames = ops.arange(ops.shape(tokens)[1])[:, None]
        return ops.broadcast_to(frames > 0, ops.shape(tokens))


@pytest.fixture(scope="module")
def guess():
    return Guess(K, N, 5)


@pytest.fixture(scope="module")
def prediction():
    rng = np.random.default_rng(0)
    tokens = rng.integers(K, size=(B, T, N)).astype("int32")
    return tokens, rng.normal(size=(B, T, N, K)).astype("float32")


def test_dynamics_gets_its_sizes_from_tokenizer():
    tokenizer = tiny_tokenizer()
    dynamics = Guess.for_world(tokenizer, 7, {"power": 3})
    assert (dynamics.num_codes, dynamics.num_patches) == (24, 4)
    assert (dynamics.action_dim, dynamics.power) == (7, 3)
    dynamics.start_from(tokenizer.codes())  # Does nothing without a table.


def test_loss_is_mean_over_scored_tokens(guess, prediction):
    tokens, logits = prediction
    nats = np.log(np.exp(logits).sum(axis=-1))
    nats -= np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    metrics = guess.loss_and_metrics(tokens, logits, {})
    assert metrics.keys() == {
        *("loss", "cross_entropy"),
        *("top1", "top2", "top5", "top16"),
    }
    np.testing.assert_allclose(metrics["loss"], nats[:, 1:].mean(), rtol=1e-5)
    hits = logits.argmax(axis=-1) == tokens
    np.testing.assert_allclose(metrics["top1"], hits[:, 1:].mean(), rtol=1e-5)
    scores = guess.token_scores(tokens, logits, {})
    np.testing.assert_allclose(
        scores["cross_entropy"], nats[:, 1:].mean(axis=(1, 2)), rtol=1e-5
    )


def test_likeliest_replaces_scored_tokens(guess, prediction):
    tokens, logits = prediction
    likeliest = ops.convert_to_numpy(guess.likeliest(tokens, logits, {}))
    np.testing.assert_array_equal(likeliest[:, 0], tokens[:, 0])
    np.testing.assert_array_equal(likeliest[:, 1:], logits.argmax(axis=-1)[:, 1:])


def test_defaults_are_no_training_inputs_and_no_cache(guess):
    assert guess.training_inputs(np.random.default_rng(0), {}) == {}
    assert guess.cache_bytes({}) == 0
