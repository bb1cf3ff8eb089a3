import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.stats import qmc

from genie_tf.models import MaskGitDynamics
from genie_tf.samplers import halton_order, maskgit_step, sample_frame
from genie_tf.samplers.maskgit_sampler import draw
from genie_tf.sampling_settings import complete_settings, settings_as_tensors

# Axes: b batch, n patches, k codes.
B, N, K = 3, 16, 12


def tensors(given=None):
    settings = MaskGitDynamics.sampling_settings
    return settings_as_tensors(settings, complete_settings(settings, given, "It"))


def random_logits(seed=0, shape=(B, N, K)):
    return 3 * np.random.default_rng(seed).normal(size=shape).astype("float32")


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def keys(seed, batch=B):
    """Return a key for each frame of a batch."""
    return ops.convert_to_tensor(np.arange(batch) + 1000 * seed, "uint32")


def take_step(
    logits,
    tokens=None,
    masked=None,
    step=0,
    num_steps=4,
    seed=0,
    priority=None,
    **others,
):
    """Run `maskgit_step` on NumPy arrays, by default all masked and without noise."""
    b, n, _ = logits.shape
    tokens = np.zeros((b, n), "int32") if tokens is None else tokens
    masked = np.ones((b, n), bool) if masked is None else masked
    priority = np.zeros((b, n), "float32") if priority is None else priority
    settings = {"temperature": 0.0, "choice_temperature": 0.0, **others}
    sampling = tensors({"num_steps": num_steps, **settings})
    answer, again = maskgit_step(
        logits, tokens, masked, step, keys(seed, b), priority, sampling
    )
    return ops.convert_to_numpy(answer), ops.convert_to_numpy(again)


def sample(predict, batch=B, seed=0, grid=(4, 4), **settings):
    sampling = tensors(settings)
    return ops.convert_to_numpy(
        sample_frame(predict, grid, keys(seed, batch), sampling)
    )


def least_confident(logits, answer, masked, count):
    """Return which `count` of the masked positions have the least confidence."""
    confidence = np.take_along_axis(log_softmax(logits), answer[..., None], axis=-1)
    confidence = np.where(masked, confidence[..., 0], np.inf)
    again = np.zeros(masked.shape, bool)
    for row, positions in zip(again, np.argsort(confidence, axis=-1)[:, :count]):
        row[positions] = True
    return again


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_decoding_keeps_most_confident_tokens_by_the_schedule(temperature):
    num_steps = 5
    tokens, masked = np.zeros((B, N), "int32"), np.ones((B, N), bool)
    # cos(18), cos(36), cos(54), cos(72 degrees) of 16 tokens.
    for step, count in enumerate([15, 12, 9, 4, 1]):
        logits = random_logits(step)
        answer, again = take_step(
            logits, tokens, masked, step, num_steps, step, temperature=temperature
        )
        np.testing.assert_array_equal(answer[~masked], tokens[~masked])
        # Confidence is the predicted probability of the drawn token.
        np.testing.assert_array_equal(
            again, least_confident(logits, answer, masked, count)
        )
        if temperature == 0:
            best = logits.argmax(axis=-1)
            np.testing.assert_array_equal(answer[masked], best[masked])
        tokens, masked = answer, again
    assert tokens.dtype == np.int32
    assert 0 <= tokens.min() <= tokens.max() < K


def test_confidence_is_that_of_drawn_token_not_of_likeliest():
    logits = random_logits()
    answer, again = take_step(logits, step=2, temperature=2.0)
    by_likeliest = least_confident(
        logits, logits.argmax(axis=-1), np.ones((B, N), bool), 6
    )
    assert (again != by_likeliest).any()


def test_frames_of_a_batch_can_have_different_numbers_of_masked_tokens():
    masked = np.zeros((B, N), bool)
    masked[0, :2] = masked[1, 3:12] = masked[2] = True
    _, again = take_step(random_logits(), masked=masked, step=1)
    np.testing.assert_array_equal(again.sum(axis=-1), [1, 8, 11])
    assert not (again & ~masked).any()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_softmax_of_logits_over_temperature(temperature):
    logits = np.array([0.0, 1.0, 2.0, -1.0], "float32")
    answer, _ = take_step(np.tile(logits, (4, 5000, 1)), temperature=temperature)
    frequencies = np.bincount(answer.ravel(), minlength=4) / answer.size
    expected = np.exp(log_softmax(logits / temperature))
    np.testing.assert_allclose(frequencies, expected, atol=0.015)  # 4 sigma.


def test_temperature_0_picks_likeliest_for_all_seeds():
    logits = random_logits()
    for seed in (0, 1):
        answer, _ = take_step(logits, seed=seed)
        np.testing.assert_array_equal(answer, logits.argmax(axis=-1))


def test_noise_on_confidences_is_0_in_last_step():
    logits = random_logits()
    masked = np.ones((B, N), bool)
    for step, noisy in ((0, True), (3, False)):
        count = (14, 11, 6, 1)[step]
        answer, again = take_step(logits, step=step, choice_temperature=1e5)
        np.testing.assert_array_equal(again.sum(axis=-1), count)
        by_confidence = least_confident(logits, answer, masked, count)
        assert (again != by_confidence).any() == noisy


@pytest.mark.parametrize("step, scale", [(0, 3), (1, 2), (2, 1)])
def test_noise_on_confidences_is_proportional_to_steps_left(step, scale):
    # One of two tokens, with probabilities 1 and 1/8, is masked again. Noise masks the
    # more confident one if the difference of two Gumbel draws, which is logistic,
    # exceeds log(8) / scale.
    logits = np.zeros((20_000, 2, 8), "float32")
    logits[:, 0, 0] = 50
    _, again = take_step(logits, step=step, choice_temperature=4.0)
    assert (again.sum(axis=-1) == 1).all()
    share = again[:, 0].mean()
    assert share == pytest.approx(1 / (1 + 8 ** (1 / scale)), abs=0.015)


def test_no_position_is_preferred_with_equal_logits():
    # If noise and confidence saturated, ties would be decided by index.
    logits = np.zeros((2000, N, 2), "float32")
    _, again = take_step(logits, step=2, temperature=1.0, choice_temperature=4.5)
    np.testing.assert_allclose(again.mean(axis=0), 6 / N, atol=0.05)


def test_frame_has_tokens_from_all_steps_and_no_masks():
    # The likeliest code is the step number. 0, which fills masked positions, never is.
    calls = []

    def predict(tokens, masked):
        calls.append((ops.convert_to_numpy(tokens), ops.convert_to_numpy(masked)))
        return 50 * ops.one_hot(ops.full((2, N), len(calls)), K, dtype="float32")

    frame = sample(predict, 2, num_steps=4)
    assert len(calls) == 4
    assert frame.shape == (2, N)
    # The steps leave 14, 11, 6 and 0 of the 16 tokens masked.
    for row in frame:
        assert np.bincount(row, minlength=K)[:5].tolist() == [0, 2, 3, 5, 6]
    # Tokens decided before the last step are in the frame.
    tokens, masked = calls[-1]
    np.testing.assert_array_equal(frame[~masked], tokens[~masked])


@pytest.mark.parametrize("num_steps", [1, 25])
def test_number_of_evaluations_is_number_of_steps(num_steps):
    calls = []

    def predict(tokens, masked):
        calls.append(int(ops.sum(ops.cast(masked, "int32"))))
        return random_logits(0, (1, 4, K))

    sample(predict, 1, grid=(2, 2), num_steps=num_steps)
    assert len(calls) == num_steps
    assert calls[:4] == [4, 3, 2, 1][:num_steps]


def test_one_program_serves_all_settings():
    evaluations = tf.Variable(0)

    def predict(tokens, masked):
        evaluations.assign_add(1)
        return random_logits()

    @tf.function
    def program(sampling):
        return sample_frame(predict, (4, 4), keys(0), sampling)

    for settings in (
        {"num_steps": 2},
        {"num_steps": 7, "temperature": 0.0, "order": "halton"},
        {"num_steps": 3, "top_k": 2, "choice_temperature": 0.0, "order": "random"},
    ):
        evaluations.assign(0)
        program(tensors(settings))
        assert int(evaluations) == settings["num_steps"]
    assert program.experimental_get_tracing_count() == 1


def test_frames_are_equal_if_and_only_if_keys_are_equal():
    def frames(seed):
        return sample(lambda *_: random_logits(0, (B, N, K)) / 3, seed=seed)

    np.testing.assert_array_equal(frames(5), frames(5))
    assert (frames(5) != frames(6)).any()
    equal_logits = sample(lambda *_: np.zeros((B, N, K), "float32"))
    assert len({tuple(row) for row in equal_logits}) == B


def test_frame_does_not_depend_on_rest_of_batch():
    def frames(batch):
        return sample(lambda *_: random_logits(0, (5, N, K))[:batch], batch)

    np.testing.assert_array_equal(frames(5)[:2], frames(2))


@pytest.mark.parametrize("order", ["halton", "random"])
def test_other_orders_do_not_depend_on_confidence(order):
    # The most confident positions, which would be first by confidence, are the last.
    logits = np.zeros((B, N, K), "float32")
    logits[:, N // 2 :, 0] = 50
    left = []

    def predict(tokens, masked):
        left.append(ops.convert_to_numpy(masked))
        return logits

    for seed in (0, 1):
        sample(predict, seed=seed, num_steps=5, order=order)
    left = np.reshape(left, (2, 5, B, N))
    # The same schedule: cos(18), cos(36), cos(54), cos(72 degrees) of 16 tokens.
    np.testing.assert_array_equal(left.sum(axis=-1)[0, :, 0], [16, 15, 12, 9, 4])
    assert not (left[:, 1:] & ~left[:, :-1]).any()
    steps = left.sum(axis=1)  # (seed, frame, position).
    distinct = {tuple(row) for row in steps.reshape(-1, N)}
    assert len(distinct) == (1 if order == "halton" else 2 * B)
    if order == "halton":
        sequence = np.argsort(halton_order(4, 4))
        assert (np.diff(steps[0, 0][sequence]) >= 0).all()


def test_halton_order_matches_scipy():
    sequence = qmc.Halton(2, scramble=False).random(500)[1:]
    for rows, columns in ((8, 8), (3, 5), (1, 4)):
        cells = np.floor(sequence * (rows, columns)) @ (columns, 1)
        expected = list(dict.fromkeys(cells.astype(int)))
        order = halton_order(rows, columns)
        np.testing.assert_array_equal(np.argsort(order), expected)


@pytest.mark.parametrize("top_k, temperature", [(1, 1.0), (3, 1.0), (3, 0.5), (9, 2.0)])
def test_top_k_draws_only_from_likeliest(top_k, temperature):
    logits = np.array([0.0, 1.0, 2.0, -1.0], "float32")
    drawn, _ = take_step(
        np.tile(logits, (4, 5000, 1)), temperature=temperature, top_k=top_k
    )
    kept = np.argsort(-logits)[:top_k]
    expected = np.zeros(4)
    expected[kept] = np.exp(log_softmax(logits[kept] / temperature))
    frequencies = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_allclose(frequencies, expected, atol=0.015)
    assert not frequencies[expected == 0].any()


def test_draw_depends_only_on_key_of_its_video():
    logits = np.zeros((2, N, K), "float32")
    settings = tensors()
    arguments = settings["temperature"], settings["top_k"]
    both = draw(logits, keys(0, 2), *arguments)
    second = draw(logits[1:], keys(0, 2)[1:], *arguments)
    np.testing.assert_array_equal(both[1:], second)


def test_steps_draw_different_tokens():
    answers = []

    def predict(tokens, masked):
        answers.append((ops.convert_to_numpy(tokens), ops.convert_to_numpy(masked)))
        return np.zeros((8, N, 1000), "float32")

    frame = sample(predict, 8, num_steps=2)
    tokens, masked = answers[1]
    assert (frame[masked] != tokens[masked]).mean() > 0.9
