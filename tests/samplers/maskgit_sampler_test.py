import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.stats import qmc

from genie_tf.models import MaskGitDynamics
from genie_tf.samplers import halton_order, maskgit_step, sample_frame
from genie_tf.samplers.maskgit_sampler import draw

# Axes: b batch, n patches, k codes.
B, N, K = 3, 16, 12

tensors = MaskGitDynamics.sampling_tensors


def random_logits(seed=0, shape=(B, N, K)):
    return 3 * np.random.default_rng(seed).normal(size=shape).astype("float32")


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def keys(seed, batch=B):
    """A key for each frame of a batch."""
    return ops.convert_to_tensor(np.arange(batch) + 1000 * seed, "uint32")


def take_step(
    logits, tokens=None, masked=None, step=0, num_steps=4, seed=0, places=None, **others
):
    """`maskgit_step` in numpy arrays; from nothing known, and without noise."""
    b, n, _ = logits.shape
    tokens = np.zeros((b, n), "int32") if tokens is None else tokens
    masked = np.ones((b, n), bool) if masked is None else masked
    places = np.zeros((b, n), "float32") if places is None else places
    settings = {"temperature": 0.0, "choice_temperature": 0.0, **others}
    sampling = tensors({"num_steps": num_steps, **settings})
    answer, again = maskgit_step(
        logits, tokens, masked, step, keys(seed, b), places, sampling
    )
    return ops.convert_to_numpy(answer), ops.convert_to_numpy(again)


def sample(logits_of, batch=B, seed=0, grid=(4, 4), **settings):
    sampling = tensors(settings)
    return ops.convert_to_numpy(
        sample_frame(logits_of, grid, keys(seed, batch), sampling)
    )


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
        answer, again = take_step(logits, step=step, choice_temperature=1e5)
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


def test_the_answer_is_complete_and_of_the_last_step():
    # The likeliest code is that of the step; 0, which fills masked places, never is.
    calls = []

    def logits_of(tokens, masked):
        calls.append((ops.convert_to_numpy(tokens), ops.convert_to_numpy(masked)))
        return 50 * ops.one_hot(ops.full((2, N), len(calls)), K, dtype="float32")

    frame = sample(logits_of, 2, num_steps=4)
    assert len(calls) == 4
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

    sample(logits_of, 1, grid=(2, 2), num_steps=num_steps)
    assert len(calls) == num_steps
    assert calls[:4] == [4, 3, 2, 1][:num_steps]


def test_one_program_for_all_settings():
    evaluations = tf.Variable(0)

    def logits_of(tokens, masked):
        evaluations.assign_add(1)
        return random_logits()

    @tf.function
    def program(sampling):
        return sample_frame(logits_of, (4, 4), keys(0), sampling)

    for settings in (
        {"num_steps": 2},
        {"num_steps": 7, "temperature": 0.0, "order": "halton"},
        {"num_steps": 3, "top_k": 2, "choice_temperature": 0.0, "order": "random"},
    ):
        evaluations.assign(0)
        program(tensors(settings))
        assert int(evaluations) == settings["num_steps"]
    assert program.experimental_get_tracing_count() == 1


def test_equal_keys_make_equal_frames_and_others_others():
    def frames(seed):
        return sample(lambda *_: random_logits(0, (B, N, K)) / 3, seed=seed)

    np.testing.assert_array_equal(frames(5), frames(5))
    assert (frames(5) != frames(6)).any()
    alike = sample(lambda *_: np.zeros((B, N, K), "float32"))
    assert len({tuple(row) for row in alike}) == B


def test_a_frame_does_not_depend_on_the_others_of_its_batch():
    def frames(batch):
        return sample(lambda *_: random_logits(0, (5, N, K))[:batch], batch)

    np.testing.assert_array_equal(frames(5)[:2], frames(2))


@pytest.mark.parametrize("order", ["halton", "random"])
def test_orders_that_do_not_ask_how_sure_the_network_is(order):
    # However sure it is of the last places, which would be first by confidence.
    logits = np.zeros((B, N, K), "float32")
    logits[:, N // 2 :, 0] = 50
    left = []

    def logits_of(tokens, masked):
        left.append(ops.convert_to_numpy(masked))
        return logits

    for seed in (0, 1):
        sample(logits_of, seed=seed, num_steps=5, order=order)
    left = np.reshape(left, (2, 5, B, N))
    # By the same schedule: cos(18), cos(36), cos(54), cos(72 degrees) of 16 tokens.
    np.testing.assert_array_equal(left.sum(axis=-1)[0, :, 0], [16, 15, 12, 9, 4])
    assert not (left[:, 1:] & ~left[:, :-1]).any()
    when = left.sum(axis=1)  # (seed, frame, place)
    distinct = {tuple(places) for places in when.reshape(-1, N)}
    assert len(distinct) == (1 if order == "halton" else 2 * B)
    if order == "halton":
        # Sooner, if the sequence comes there sooner.
        places = np.argsort(halton_order(4, 4))
        assert (np.diff(when[0, 0][places]) >= 0).all()


def test_halton_order_is_that_of_scipy():
    sequence = qmc.Halton(2, scramble=False).random(500)[1:]
    for rows, columns in ((8, 8), (3, 5), (1, 4)):
        cells = np.floor(sequence * (rows, columns)) @ (columns, 1)
        expected = list(dict.fromkeys(cells.astype(int)))
        order = halton_order(rows, columns)
        np.testing.assert_array_equal(np.argsort(order), expected)


@pytest.mark.parametrize("top_k, temperature", [(1, 1.0), (3, 1.0), (3, 0.5), (9, 2.0)])
def test_top_k_draws_from_the_likeliest_alone(top_k, temperature):
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


def test_a_draw_is_of_the_key_of_its_video():
    logits = np.zeros((2, N, K), "float32")
    settings = tensors()
    given = settings["temperature"], settings["top_k"]
    both = draw(logits, keys(0, 2), *given)
    alone = draw(logits[1:], keys(0, 2)[1:], *given)
    np.testing.assert_array_equal(both[1:], alone)


def test_each_step_draws_anew():
    answers = []

    def logits_of(tokens, masked):
        answers.append((ops.convert_to_numpy(tokens), ops.convert_to_numpy(masked)))
        return np.zeros((8, N, 1000), "float32")

    frame = sample(logits_of, 8, num_steps=2)
    tokens, masked = answers[1]
    assert (frame[masked] != tokens[masked]).mean() > 0.9
