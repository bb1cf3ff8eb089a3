import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops, tree

from genie_tf.compilation import compiled
from genie_tf.models import (
    Genie,
    GuidedGenie,
    LatentActionModel,
    MaskGitDynamics,
    VideoTokenizer,
)
from genie_tf.noise import fold
from genie_tf.samplers import WorldSampler, sample_frame, video_seeds
from genie_tf.sampling_settings import ORDERS

# Axes: b batch, t time, n patches, k codes.
B, N, K, WINDOW = 2, 6, 16, 3
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2, "window": WINDOW}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # Quick to build.
PROMPT = np.random.default_rng(0).integers(0, 256, (B, 2, 8, 12, 3), dtype="uint8")
ACTIONS = np.array([[0, 2, 1, 1, 2], [1, 1, 0, 2, 0]], "int32")
SAMPLING = {"num_steps": 3}
LIKELIEST = {"num_steps": 3, "temperature": 0.0, "choice_temperature": 0.0}


@pytest.fixture(scope="module")
def genie():
    keras.utils.set_random_seed(0)
    genie = Genie(
        VideoTokenizer((8, 12, 3), 4, K, 8, NO_BLOCKS, TRANSFORMER),
        LatentActionModel((8, 12, 3), 4, 3, 8, TRANSFORMER, NO_BLOCKS),
        MaskGitDynamics(K, N, 8, TRANSFORMER),
    )
    genie.tokenizer.update_codebooks(
        genie.tokenizer.losses_and_metrics({"video": PROMPT})[1]
    )
    strengthen(genie.dynamics)
    return genie


@pytest.fixture(scope="module")
def guided(genie):
    dynamics = MaskGitDynamics(K, N, 3, TRANSFORMER, conditioning="token")
    strengthen(dynamics)
    return GuidedGenie(genie.tokenizer, dynamics)


def strengthen(dynamics):
    """Set weights so that actions have an effect and logits differ between codes."""
    rng = np.random.default_rng(0)
    for weight, scale in (
        (dynamics.table.embeddings, 0.1),
        (dynamics.to_change.kernel, 3),
        (dynamics.action_embedding.kernel, 2),
    ):
        weight.assign(scale * rng.normal(size=weight.shape))


@pytest.fixture(scope="module")
def sampler(genie):
    return WorldSampler(genie)


def without_xla(sampler):
    """Return the sampler, with programs that use the kernels of the reference."""
    sampler._reset = tf.function(sampler._reset.python_function, autograph=False)
    sampler._step = tf.function(sampler._step.python_function, autograph=False)
    return sampler


@pytest.fixture(scope="module")
def traced(genie):
    return without_xla(WorldSampler(genie))


@pytest.fixture
def eager():
    """Execution of compiled functions as plain Python: faster for a few frames."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def generate(sampler, prompt=PROMPT, actions=ACTIONS, seed=0, sampling=SAMPLING):
    """Return the tokens of the frames that follow, (b, frames, n)."""
    state, _ = sampler.reset(prompt)
    seeds, tokens = video_seeds(seed, len(prompt)), []
    for action in actions.T:
        state, _ = sampler.step(state, action, seeds, sampling)
        tokens.append(ops.convert_to_numpy(state["dynamics"]["tokens"]))
    return np.stack(tokens, axis=1)


def test_tokens_are_in_the_vocabulary(sampler):
    tokens = generate(sampler)
    assert tokens.shape == (B, 5, N)
    assert tokens.dtype == np.int32
    assert 0 <= tokens.min() <= tokens.max() < K


def test_frames_do_not_depend_on_later_actions(sampler):
    other = np.concatenate([ACTIONS[:, :3], 2 - ACTIONS[:, 3:]], axis=1)
    np.testing.assert_array_equal(
        generate(sampler, actions=other)[:, :3], generate(sampler)[:, :3]
    )


def test_videos_of_a_batch_are_independent(sampler):
    tokens = generate(sampler)
    prompt, actions = PROMPT.copy(), ACTIONS.copy()
    prompt[1], actions[1] = 255 - prompt[1], 2 - actions[1]
    other = generate(sampler, prompt, actions)
    np.testing.assert_array_equal(other[0], tokens[0])
    assert (other[1] != tokens[1]).any()


def test_equal_videos_of_a_batch_differ_unless_their_seeds_are_equal(sampler):
    prompt, actions = (np.repeat(x[:1], B, axis=0) for x in (PROMPT, ACTIONS))
    tokens = generate(sampler, prompt, actions)
    assert (tokens[0] != tokens[1]).any()
    one, other = ops.convert_to_numpy(
        sampler.generate(prompt, actions, np.array([7, 7]), SAMPLING)
    )
    np.testing.assert_array_equal(one, other)


def test_videos_are_equal_if_and_only_if_seeds_are_equal(sampler):
    np.testing.assert_array_equal(generate(sampler, seed=1), generate(sampler, seed=1))
    assert (generate(sampler, seed=1) != generate(sampler, seed=2)).any()


def test_actions_change_the_next_frame_and_no_earlier_one(sampler):
    before = generate(sampler)
    for index in range(5):
        actions = ACTIONS.copy()
        actions[:, index] = (actions[:, index] + 1) % 3
        changed = (generate(sampler, actions=actions) != before).any(axis=(0, 2))
        assert changed[index]
        assert not changed[:index].any()


def test_actions_between_prompt_frames_have_an_effect(sampler):
    def first(between, seed):
        state, _ = sampler.reset(PROMPT, np.full((B, 1), between))
        state, _ = sampler.step(state, ACTIONS[:, 0], seed, SAMPLING)
        return ops.convert_to_numpy(state["dynamics"]["tokens"])

    assert any((first(0, seed) != first(2, seed)).any() for seed in range(5))


def test_one_program_serves_all_frames_and_settings(sampler):
    generate(sampler)
    for order in ORDERS:
        sampling = {"num_steps": 5, "temperature": 0.5, "top_k": 3, "order": order}
        generate(sampler, sampling=sampling)
    generate(sampler, PROMPT[:, :1], ACTIONS[:, :2])
    assert sampler._step.experimental_get_tracing_count() == 1


def test_steps_do_not_modify_their_state(sampler):
    state, _ = sampler.reset(PROMPT)
    before = tree.map_structure(lambda x: ops.convert_to_numpy(x).copy(), state)
    one, frame = sampler.step(state, ACTIONS[:, 0], 3, SAMPLING)
    sampler.step(one, ACTIONS[:, 1], 4, SAMPLING)
    tree.map_structure(np.testing.assert_array_equal, state, before)
    again, same = sampler.step(state, ACTIONS[:, 0], 3, SAMPLING)
    np.testing.assert_array_equal(frame, same)
    np.testing.assert_array_equal(
        one["dynamics"]["tokens"], again["dynamics"]["tokens"]
    )


def test_videos_of_a_batch_can_differ_in_age(sampler):
    # Combine the states of an old and of a new video.
    old, new = sampler.reset(PROMPT)[0], sampler.reset(PROMPT)[0]
    for i in range(4):
        old, _ = sampler.step(old, ACTIONS[:, i], 0, SAMPLING)
    both = tree.map_structure(
        lambda x, y: ops.concatenate(
            [x[: x.shape[0] // B], y[y.shape[0] // B :]], axis=0
        ),
        old,
        new,
    )
    both, frames = sampler.step(both, ACTIONS[:, 4], 9, SAMPLING)
    old_frames, new_frames = (
        sampler.step(x, ACTIONS[:, 4], 9, SAMPLING)[1] for x in (old, new)
    )
    np.testing.assert_array_equal(frames[0], old_frames[0])
    np.testing.assert_array_equal(frames[1], new_frames[1])


def test_frames_do_not_depend_on_their_age(genie, eager):
    """Frame 1,000 has the content of frame 20 and needs no more memory."""
    sampler, rng = WorldSampler(genie), np.random.default_rng(0)
    first = rng.integers(0, K, (B, N)).astype("int32")
    frames = np.zeros((B, *genie.tokenizer.frame_shape), "uint8")
    early = late = sampler.first_frame(first, frames)[0]
    late = {**late, "position": late["position"] + 999}
    # Known frames fill the window, so that the late state forgets its empty past.
    for tokens in rng.integers(0, K, (2 * WINDOW, B, N)).astype("int32"):
        early, late = (
            sampler._decode(sampler._add_frame(x, tokens, ACTIONS[:, 0]), tokens)[0]
            for x in (early, late)
        )
    for i in range(5):
        early, expected = sampler.step(early, ACTIONS[:, i], 0, LIKELIEST)
        late, frame = sampler.step(late, ACTIONS[:, i], 0, LIKELIEST)
        np.testing.assert_allclose(frame, expected, atol=1e-4)
    for ours, theirs in zip(tree.flatten(late), tree.flatten(early), strict=True):
        assert ours.shape == theirs.shape


def test_play_equals_generation(sampler):
    expected = sampler.generate(PROMPT[:, :1], ACTIONS, 5, SAMPLING)
    state, _ = sampler.reset(PROMPT[:, :1])
    settings = sampler.world.dynamics.sampling_tensors(SAMPLING)
    others = (ACTIONS + 1) % sampler.world.num_actions
    played, replaced = compiled(sampler.play)(
        state, ACTIONS, video_seeds(5, B), settings, others
    )
    np.testing.assert_allclose(played, expected[:, 1:], atol=1e-6)
    # The third frame, after two of the actions and another one.
    actions = np.concatenate([ACTIONS[:, :2], others[:, 2:3]], axis=1)
    other = sampler.generate(PROMPT[:, :1], actions, 5, SAMPLING)[:, -1]
    np.testing.assert_allclose(replaced[:, 2], other, atol=1e-6)


@pytest.fixture(scope="module")
def uncached_frame():
    """Function that samples a frame, with all past frames as input of each step."""

    @functools.partial(tf.function, autograph=False)
    def sample(dynamics, tokens, actions, key, settings):
        def predict(frame, masked):
            video = ops.concatenate([tokens, frame[:, None]], axis=1)
            known = ops.zeros(tokens.shape, "bool")
            batch = {"mask": ops.concatenate([known, masked[:, None]], axis=1)}
            return dynamics(video, actions, batch)[:, -1]

        return sample_frame(predict, (2, 3), key, settings)

    return sample


def reference_tokens(uncached_frame, genie, actions, seed, sampling):
    """Compute the same tokens without a cache, with all frames in each step."""
    tokens = ops.convert_to_numpy(genie.tokenizer.tokenize(PROMPT))
    between = np.zeros((B, 1), "int32")
    if isinstance(genie, Genie):
        between = ops.convert_to_numpy(genie.infer_actions(PROMPT))
    vectors = genie.action_vectors(np.concatenate([between, actions], axis=1))
    settings = genie.dynamics.sampling_tensors(sampling)
    for _ in range(actions.shape[1]):
        t = tokens.shape[1]
        key = fold(ops.cast(video_seeds(seed, B), "uint32"), t)
        frame = uncached_frame(
            genie.dynamics, ops.convert_to_tensor(tokens), vectors[:, :t], key, settings
        )
        tokens = np.concatenate([tokens, ops.convert_to_numpy(frame)[:, None]], axis=1)
    return tokens[:, 2:]


@pytest.mark.parametrize("num_steps", [1, 2, 4, 6, 25])
@pytest.mark.parametrize("order", ORDERS)
def test_cached_sampling_equals_uncached_beyond_window(
    genie, traced, uncached_frame, order, num_steps
):
    sampling = {"num_steps": num_steps, "order": order}
    tokens = generate(traced, seed=3, sampling=sampling)
    assert tokens.shape[1] + 2 > 2 * WINDOW
    expected = reference_tokens(uncached_frame, genie, ACTIONS, 3, sampling)
    np.testing.assert_array_equal(tokens, expected)


def test_cached_sampling_equals_uncached_with_true_actions(guided, uncached_frame):
    sampler = without_xla(WorldSampler(guided))
    state, _ = sampler.reset(PROMPT, np.zeros((B, 1)))
    seeds = video_seeds(3, B)
    expected = reference_tokens(uncached_frame, guided, ACTIONS, 3, SAMPLING)
    for i in range(5):
        state, _ = sampler.step(state, ACTIONS[:, i], seeds, SAMPLING)
        np.testing.assert_array_equal(state["dynamics"]["tokens"], expected[:, i])


@pytest.mark.parametrize("prompt_frames", [1, 2])
def test_frames_are_decoded_from_tokens_of_prompt_and_future(
    genie, eager, prompt_frames
):
    sampler, prompt = WorldSampler(genie), PROMPT[:, :prompt_frames]
    video = ops.convert_to_numpy(sampler.generate(prompt, ACTIONS, 3, SAMPLING))
    assert video.shape == (B, prompt_frames + 5, 8, 12, 3)
    assert video.dtype == np.float32
    assert 0 <= video.min() <= video.max() <= 1
    tokens = np.concatenate(
        [genie.tokenizer.tokenize(prompt), generate(sampler, prompt, seed=3)], axis=1
    )
    # Decoding frame by frame, beyond the window, equals decoding all frames.
    assert tokens.shape[1] > WINDOW
    np.testing.assert_allclose(video, genie.tokenizer.detokenize(tokens), atol=1e-5)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (
            {"order": "raster"},
            "`order` must be one of confidence, halton, random; received 'raster'.",
        ),
        (
            {"steps": 3},
            "A MaskGitDynamics has no setting 'steps': it has num_steps, temperature, "
            "top_k, choice_temperature, order.",
        ),
    ],
)
def test_invalid_settings_are_rejected(sampler, sampling, message):
    state, _ = sampler.reset(PROMPT)
    for use in (
        lambda: sampler.step(state, ACTIONS[:, 0], 0, sampling),
        lambda: sampler.generate(PROMPT, ACTIONS, 0, sampling),
    ):
        with pytest.raises(ValueError) as error:
            use()
        assert str(error.value) == message
