import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.samplers import maskgit_step, sample_frame
from genie_tf.samplers.maskgit_sampler import FoldedSeed, gumbel_noise

# Axes: b batch, n patches, k codes.
B, N, K = 3, 16, 12


def random_logits(seed=0, shape=(B, N, K)):
    return 3 * np.random.default_rng(seed).normal(size=shape).astype("float32")


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def take_step(
    logits, tokens=None, masked=None, step=0, num_steps=4, seed=0, **settings
):
    """`maskgit_step` in numpy arrays; from nothing known, and without noise."""
    b, n, _ = logits.shape
    tokens = np.zeros((b, n), "int32") if tokens is None else tokens
    masked = np.ones((b, n), bool) if masked is None else masked
    settings = {"temperature": 0.0, "choice_temperature": 0.0, **settings}
    answer, again = maskgit_step(
        logits, tokens, masked, step, num_steps, seed, **settings
    )
    return ops.convert_to_numpy(answer), ops.convert_to_numpy(again)


def least_confident(logits, answer, masked, count):
    """Which `count` of the masked positions are least sure of their answer."""
    confidence = np.take_along_axis(log_softmax(logits), answer[..., None], axis=-1)
    confidence = np.where(masked, confidence[..., 0], np.inf)
    again = np.zeros(masked.shape, bool)
    for row, places in zip(again, np.argsort(confidence, axis=-1)[:, :count]):
        row[places] = True
    return again


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_decoding_settles_the_surest_tokens_by_the_schedule(temperature):
    num_steps = 5
    tokens, masked = np.zeros((B, N), "int32"), np.ones((B, N), bool)
    # cos(18), cos(36), cos(54), cos(72 degrees) of 16 tokens.
    for step, count in enumerate([15, 12, 9, 4, 1]):
        logits = random_logits(step)
        answer, again = take_step(
            logits, tokens, masked, step, num_steps, step, temperature=temperature
        )
        np.testing.assert_array_equal(answer[~masked], tokens[~masked])
        # Of the tokens drawn, by the probability the network gave them.
        np.testing.assert_array_equal(
            again, least_confident(logits, answer, masked, count)
        )
        if temperature == 0:
            best = logits.argmax(axis=-1)
            np.testing.assert_array_equal(answer[masked], best[masked])
        tokens, masked = answer, again
    assert tokens.dtype == np.int32
    assert 0 <= tokens.min() <= tokens.max() < K


def test_confidence_is_that_of_the_drawn_token_not_of_the_likeliest():
    logits = random_logits()
    answer, again = take_step(logits, step=2, temperature=2.0)
    by_likeliest = least_confident(
        logits, logits.argmax(axis=-1), np.ones((B, N), bool), 6
    )
    assert (again != by_likeliest).any()


def test_frames_of_a_batch_with_different_numbers_of_masked_tokens():
    masked = np.zeros((B, N), bool)
    masked[0, :2] = masked[1, 3:12] = masked[2] = True
    _, again = take_step(random_logits(), masked=masked, step=1)
    np.testing.assert_array_equal(again.sum(axis=-1), [1, 8, 11])
    assert not (again & ~masked).any()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax_of_logits_over_temperature(temperature):
    logits = np.array([0.0, 1.0, 2.0, -1.0], "float32")
    answer, _ = take_step(np.tile(logits, (4, 5000, 1)), temperature=temperature)
    frequencies = np.bincount(answer.ravel(), minlength=4) / answer.size
    expected = np.exp(log_softmax(logits / temperature))
    np.testing.assert_allclose(frequencies, expected, atol=0.015)  # 4 sigma


def test_temperature_0_takes_the_likeliest_whatever_the_seed():
    logits = random_logits()
    for seed in (0, 1):
        answer, _ = take_step(logits, seed=seed)
        np.testing.assert_array_equal(answer, logits.argmax(axis=-1))


def test_noise_on_confidences_falls_to_0_with_the_last_step():
    logits = random_logits()
    masked = np.ones((B, N), bool)
    for step, noisy in ((0, True), (3, False)):
        count = (14, 11, 6, 1)[step]
        answer, again = take_step(logits, step=step, choice_temperature=1e9)
        np.testing.assert_array_equal(again.sum(axis=-1), count)
        by_confidence = least_confident(logits, answer, masked, count)
        assert (again != by_confidence).any() == noisy


@pytest.mark.parametrize("step, scale", [(0, 3), (1, 2), (2, 1)])
def test_noise_on_confidences_is_in_proportion_to_the_steps_left(step, scale):
    # Two tokens of probabilities 1 and 1/8, one of which is masked again. With noise,
    # that is the surer one as often as the difference of two draws from Gumbel, which
    # is logistic, is larger than log(8) / scale.
    logits = np.zeros((20_000, 2, 8), "float32")
    logits[:, 0, 0] = 50
    _, again = take_step(logits, step=step, choice_temperature=4.0)
    assert (again.sum(axis=-1) == 1).all()
    surer = again[:, 0].mean()
    assert surer == pytest.approx(1 / (1 + 8 ** (1 / scale)), abs=0.015)


def test_without_knowledge_no_place_is_preferred():
    # Were noise and confidence to saturate, ties would go by index.
    logits = np.zeros((2000, N, 2), "float32")
    _, again = take_step(logits, step=2, temperature=1.0, choice_temperature=4.5)
    np.testing.assert_allclose(again.mean(axis=0), 6 / N, atol=0.05)


def test_gumbel_noise_has_the_moments_of_gumbel():
    noise = ops.convert_to_numpy(gumbel_noise((100_000,), FoldedSeed(0, 0)))
    assert np.isfinite(noise).all()
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.02)


def test_folded_seeds_make_independent_streams():
    def noise(seed, fold):
        return ops.convert_to_numpy(gumbel_noise((1000,), FoldedSeed(seed, fold)))

    np.testing.assert_array_equal(noise(3, 0), noise(3, 0))
    streams = [noise(3, 0), noise(3, 1), noise(4, 0), noise(-3, 0)]
    correlations = np.corrcoef(streams)[~np.eye(4, dtype=bool)]
    assert np.abs(correlations).max() < 0.15


def test_the_answer_is_complete_and_of_the_last_step():
    # The likeliest code is that of the step; 0, which fills masked places, never is.
    calls = []

    def logits_of(tokens, masked):
        calls.append((ops.convert_to_numpy(tokens), ops.convert_to_numpy(masked)))
        return 50 * ops.one_hot(ops.full((2, N), len(calls)), K, dtype="float32")

    frame = sample_frame(logits_of, 2, N, seed=0, num_steps=4)
    assert len(calls) == 4
    frame = ops.convert_to_numpy(frame)
    assert frame.shape == (2, N)
    # Of 16 tokens, 14, 11 and 6 are left to the steps after the first.
    for row in frame:
        assert np.bincount(row, minlength=K)[:5].tolist() == [0, 2, 3, 5, 6]
    # What was settled before the last step is in the frame.
    tokens, masked = calls[-1]
    np.testing.assert_array_equal(frame[~masked], tokens[~masked])


@pytest.mark.parametrize("num_steps", [1, 25])
def test_as_many_evaluations_as_steps(num_steps):
    calls = []

    def logits_of(tokens, masked):
        calls.append(int(ops.sum(ops.cast(masked, "int32"))))
        return random_logits(0, (1, 4, K))

    sample_frame(logits_of, 1, 4, seed=0, num_steps=num_steps)
    assert len(calls) == num_steps
    assert calls[:4] == [4, 3, 2, 1][:num_steps]


def test_the_number_of_steps_may_be_decided_at_run_time():
    evaluations = tf.Variable(0)

    def logits_of(tokens, masked):
        evaluations.assign_add(1)
        return random_logits()

    @tf.function
    def sample(num_steps):
        return sample_frame(logits_of, B, N, seed=0, num_steps=num_steps)

    for num_steps in (2, 7):
        evaluations.assign(0)
        sample(tf.constant(num_steps))
        assert int(evaluations) == num_steps
    assert sample.experimental_get_tracing_count() == 1


def test_equal_seeds_make_equal_frames_and_others_others():
    def sample(seed):
        return ops.convert_to_numpy(
            sample_frame(lambda *_: random_logits() / 3, B, N, seed, num_steps=3)
        )

    np.testing.assert_array_equal(sample(5), sample(5))
    assert (sample(5) != sample(6)).any()
    assert len({tuple(row) for row in sample(5)}) == B


def test_each_step_draws_anew():
    answers = []

    def logits_of(tokens, masked):
        answers.append((ops.convert_to_numpy(tokens), ops.convert_to_numpy(masked)))
        return np.zeros((8, N, 1000), "float32")

    frame = ops.convert_to_numpy(sample_frame(logits_of, 8, N, seed=0, num_steps=2))
    tokens, masked = answers[1]
    assert (frame[masked] != tokens[masked]).mean() > 0.9
