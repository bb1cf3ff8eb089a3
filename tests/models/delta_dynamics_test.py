import re

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.layers.canvas import blank_canvas, paint
from genie_tf.layers.motion import num_shifts, still
from genie_tf.models import GuidedGenie
from genie_tf.models.delta_dynamics import DeltaDynamics, Past
from genie_tf.models.delta_tokens import DRAWN, MOVED, DeltaTokens, unpack
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import SPACE, tiny_delta_tokenizer, tiny_tokenizer

REACH, MARGIN = (2, 1), 4
LIKELIEST = {"temperature": 0.0}


def make_tokenizer():
    return tiny_delta_tokenizer(reach=REACH, margin=MARGIN)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def dynamics(tokenizer):
    keras.utils.set_random_seed(0)
    return DeltaDynamics.for_world(tokenizer, 5, {"motion": SPACE, "painter": SPACE})


@pytest.fixture
def past():
    rng = np.random.default_rng(0)
    frames = rng.random((3, 16, 16, 3), "float32")
    return Past(
        paint(blank_canvas(3, (16, 16, 3), MARGIN), frames),
        rng.integers(256, size=(3, 16, 16, 3)).astype("uint8"),
        rng.integers(num_shifts(REACH), size=(3, 3)).astype("int32"),
    )


ACTION = np.eye(5, dtype="float32")[:3]
SHIFT = np.array([3, 7, 0])


def make_batch(dynamics, seed=0, time=4):
    """Return a batch of clips whose pixels move."""
    rng = np.random.default_rng(seed)
    first = rng.integers(256, size=(2, 1, 16, 16, 3)).astype("uint8")
    video = np.concatenate([np.roll(first, i, axis=2) for i in range(time)], axis=1)
    inputs = [dynamics.training_inputs(rng, {"video": clip}) for clip in video]
    return {
        "video": video,
        "action": rng.integers(5, size=(2, time - 1)),
        **{name: np.stack([x[name] for x in inputs]) for name in inputs[0]},
    }


def test_prediction_depends_on_the_action(dynamics, past):
    other = np.roll(ACTION, 1, axis=1)
    logits = dynamics.shift_logits(past, ACTION)
    assert logits.shape == (3, num_shifts(REACH))
    assert np.all(np.array(logits != dynamics.shift_logits(past, other)))
    seen, again = (dynamics.see(past, SHIFT, x)[0] for x in (ACTION, other))
    assert np.all(np.array(seen != again))


def test_unknown_codes_are_not_seen(dynamics, past):
    codes = np.random.default_rng(1).integers(1, 13, size=(3, 16, 2), dtype="int32")
    seen, _ = dynamics.see(past, SHIFT, ACTION)
    mode = np.full((3, 16), DRAWN)
    known = np.zeros((3, 16), bool)
    known[:, 3] = True
    other = codes.copy()
    other[:, 4:] = other[:, 4:] % 12 + 1
    one, two = (dynamics.features(seen, mode, x, known) for x in (codes, other))
    np.testing.assert_array_equal(one, two)
    other[:, 3] = other[:, 3] % 12 + 1
    assert np.all(np.array(one != dynamics.features(seen, mode, other, known)))


def test_patches_that_come_into_view_are_new(dynamics, past):
    shift = np.array([still(REACH), still(REACH) + 1, still(REACH) - 3])
    _, new = dynamics.see(past, shift, ACTION)
    expected = np.zeros((3, 4, 4), bool)
    # The second picture moves to the right, the third moves up.
    expected[1, :, 0] = expected[2, -1] = True
    np.testing.assert_array_equal(np.array(new).reshape(3, 4, 4), expected)


@pytest.mark.parametrize("level", [0, 1])
def test_code_is_predicted_from_earlier_codes_only(dynamics, level):
    rng = np.random.default_rng(2)
    features = rng.random((1, 16, 16), "float32")
    codes = rng.integers(1, 13, size=(1, 16, 2), dtype="int32")
    logits = dynamics.digit_logits(features, level, dynamics.vectors(codes))
    assert [x.shape for x in dynamics.split_digits(logits)] == [(1, 16, 4), (1, 16, 3)]
    for changed in range(2):
        other = codes.copy()
        other[..., changed] = other[..., changed] % 12 + 1
        again = dynamics.digit_logits(features, level, dynamics.vectors(other))
        assert np.all((np.array(logits) != np.array(again)) == (changed < level))


def test_training_sees_the_past_of_play(dynamics, tokenizer):
    """Logits of a change depend on the same past as in play, frame after frame."""
    batch = make_batch(dynamics)
    tokens, decoded = tokenizer.tokenize_and_decode(batch["video"])
    actions = ops.one_hot(batch["action"], 5)
    logits = dynamics(tokens, actions, {**batch, "decoded": decoded})
    cache = dynamics.start(tokens[:, 0])
    for i in range(3):
        cache = dynamics.see_frame(decoded[:, i], tokens[:, i], cache)
        expected = dynamics.shift_logits(Past(**cache), actions[:, i])
        np.testing.assert_allclose(logits["shift"][:, i], expected, atol=1e-5)
    still_shift = np.array(dynamics.start(tokens[:, 0])["shifts"])
    assert np.any(np.array(cache["shifts"]) != still_shift)


def test_loss_ignores_known_modes_and_codes(dynamics, tokenizer):
    batch = make_batch(dynamics)
    world = GuidedGenie(make_tokenizer(), dynamics)
    shape = batch["known_codes"].shape
    modes = codes = np.ones(shape, bool)

    def nats(**known):
        metrics, _ = world.losses_and_metrics({**batch, **known})
        return {name: float(x) for name, x in metrics.items()}

    found = nats(known_modes=modes, known_codes=codes)
    assert found["dynamics/mode_nats"] == found["dynamics/code_nats"] == 0
    assert found["dynamics/shift_nats"] > 0
    found = nats(known_modes=modes, known_codes=~codes)
    assert found["dynamics/code_nats"] > found["dynamics/mode_nats"] == 0
    found = nats(known_modes=~modes, known_codes=~codes)
    assert found["dynamics/mode_nats"] > found["dynamics/code_nats"] == 0
    # A single hidden mode hides what to draw.
    modes = np.arange(16) != 3 * np.ones(shape, int)
    found = nats(known_modes=modes, known_codes=~codes)
    assert found["dynamics/mode_nats"] > found["dynamics/code_nats"] == 0


def test_nats_are_those_of_the_code(dynamics):
    """A uniform prediction of a code of 12 costs log 12."""
    change = DeltaTokens(
        np.full((1, 1), 4), np.full((1, 1, 16), MOVED), np.full((1, 1, 16, 2), 7)
    )
    tokens = ops.concatenate([change.pack()] * 2, axis=1)
    logits = {
        "shift": np.zeros((1, 1, num_shifts(REACH)), "float32"),
        "mode": np.zeros((1, 1, 16, 3), "float32"),
        "digits": np.zeros((1, 1, 16, 2, 7), "float32"),
    }
    batch = {
        "known_modes": np.ones((1, 1, 16), bool),
        "known_codes": np.zeros((1, 1, 16), bool),
    }
    scores = dynamics.token_scores(tokens, logits, batch)
    np.testing.assert_allclose(scores["shift_nats"], np.log(15), rtol=1e-5)
    np.testing.assert_allclose(scores["code_nats"], 2 * np.log(12), rtol=1e-5)
    np.testing.assert_allclose(scores["mode_nats"], 0)


def test_likeliest_replaces_scored_codes_only(dynamics, tokenizer):
    batch = make_batch(dynamics)
    tokens, decoded = tokenizer.tokenize_and_decode(batch["video"])
    logits = dynamics(
        tokens, ops.one_hot(batch["action"], 5), {**batch, "decoded": decoded}
    )
    change, made = (
        unpack(np.array(x)[:, 1:], 16, 2)
        for x in (tokens, dynamics.likeliest(tokens, logits, batch))
    )
    np.testing.assert_array_equal(made.shift, change.shift)
    np.testing.assert_array_equal(made.mode, change.mode)
    scored = np.array(dynamics.scored_codes(change, batch))
    codes, true = np.array(made.codes), np.array(change.codes)
    np.testing.assert_array_equal(codes[~scored], true[~scored])
    digits = np.array(logits["digits"])
    expected = 1 + digits[..., :4].argmax(-1) + 4 * digits[..., 4:].argmax(-1)
    np.testing.assert_array_equal(codes[scored], expected[scored])


def test_samples_depend_on_the_key_of_their_video(dynamics, past):
    def sample(key, **settings):
        tokens, _ = dynamics.sample_frame(
            ACTION,
            past._asdict(),
            np.ones(3, "int32"),
            np.array(key, "uint32"),
            dynamics.sampling_tensors(settings),
            (4, 4),
        )
        return np.array(tokens)

    one, two, other = sample([1, 2, 3]), sample([1, 2, 3]), sample([1, 2, 4])
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[:2], other[:2])
    assert np.any(one[2] != other[2])
    tokens = unpack(one, 16, 2)
    assert 0 <= tokens.shift.min() <= tokens.shift.max() < num_shifts(REACH)
    assert set(np.unique(tokens.mode)) <= {0, 1, 2}
    codes = np.array(tokens.codes)
    assert np.all(codes[tokens.mode == DRAWN] > 0)
    assert 0 <= codes.min() <= codes.max() <= 12
    np.testing.assert_array_equal(codes[..., 0] > 0, codes[..., 1] > 0)
    np.testing.assert_array_equal(
        sample([1, 2, 3], **LIKELIEST)[:, 0],
        np.argmax(dynamics.shift_logits(past, ACTION), -1),
    )


def test_first_frame_is_shown_as_given_and_play_continues_it(dynamics):
    world = GuidedGenie(make_tokenizer(), dynamics)
    sampler = WorldSampler(world)
    prompt = make_batch(dynamics)["video"][:, :1]
    state, video = sampler.reset(prompt)
    np.testing.assert_allclose(video, prompt / 255, atol=1e-6)
    _, frame = sampler.step(state, [1, 2], 3)
    generated = sampler.generate(prompt, [[1], [2]], [3, 3])
    np.testing.assert_array_equal(generated[:, 1], frame)


def test_other_tokenizers_are_rejected():
    with pytest.raises(
        ValueError,
        match="A DeltaDynamics needs a DeltaTokenizer; received a VideoTokenizer",
    ):
        DeltaDynamics.for_world(
            tiny_tokenizer(), 5, {"motion": SPACE, "painter": SPACE}
        )


@pytest.mark.parametrize("rates", [(0.5, 0.2), 0.5, (), (0.1, "0.2")])
def test_shares_of_errors_are_checked(tokenizer, rates):
    arguments = {"motion": SPACE, "painter": SPACE, "error_rates": rates}
    message = (
        "`error_rates` must be the smallest and the largest share of patches, from 0 to "
        f"1; received {rates!r}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        DeltaDynamics.for_world(tokenizer, 5, arguments)


def test_cache_bytes_match_the_cache(dynamics):
    cache = keras.tree.flatten(dynamics.start(np.zeros((1, 49), "int32")))
    size = sum(np.array(x).nbytes for x in cache)
    assert dynamics.cache_bytes(dynamics.arguments()) == size


def test_arguments_rebuild_the_model(dynamics):
    again = DeltaDynamics(**dynamics.arguments())
    assert again.arguments() == dynamics.arguments()
