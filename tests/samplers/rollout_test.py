import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from genie_tf.compilation import compiled
from genie_tf.models import (
    Dynamics,
    Genie,
    GuidedGenie,
    LatentActionModel,
    VideoTokenizer,
)
from genie_tf.samplers import Rollout, num_left_masked

# Axes: b batch, t time, n patches, k codes.
B, N, K, WINDOW = 2, 6, 16, 3
TRANSFORMER = {"dim": 16, "num_blocks": 1, "num_heads": 2}
NO_BLOCKS = {**TRANSFORMER, "num_blocks": 0}  # quick to build
PROMPT = np.random.default_rng(0).integers(0, K, (B, 2, N)).astype("int32")
BETWEEN = np.array([[0], [2]], "int32")
ACTIONS = np.array([[0, 2, 1, 1, 2], [1, 1, 0, 2, 0]], "int32")


@pytest.fixture(scope="module")
def genie():
    keras.utils.set_random_seed(0)
    genie = Genie(
        VideoTokenizer((8, 12, 3), 4, K, 8, NO_BLOCKS, NO_BLOCKS),
        LatentActionModel((8, 12, 3), 4, 3, 8, TRANSFORMER, NO_BLOCKS),
        Dynamics(K, N, 8, {**TRANSFORMER, "window": WINDOW}),
    )
    make_louder(genie.dynamics)
    return genie


@pytest.fixture(scope="module")
def guided(genie):
    transformer = {**TRANSFORMER, "window": WINDOW}
    dynamics = Dynamics(K, N, 3, transformer, conditioning="token")
    make_louder(dynamics)
    return GuidedGenie(genie.tokenizer, dynamics)


def make_louder(dynamics):
    """Than untrained: actions steer, and logits differ from code to code."""
    rng = np.random.default_rng(0)
    for weight, scale in (
        (dynamics.table.embeddings, 0.1),
        (dynamics.to_change.kernel, 3),
        (dynamics.action_embedding.kernel, 2),
    ):
        weight.assign(scale * rng.normal(size=weight.shape))


@pytest.fixture(scope="module")
def rollout(genie):
    return Rollout(genie, num_steps=3)


def generate(rollout, tokens=PROMPT, between=BETWEEN, actions=ACTIONS, seed=0):
    return ops.convert_to_numpy(
        rollout.generate_tokens(ops.convert_to_tensor(tokens), between, actions, seed)
    )


def test_prompt_is_kept_and_tokens_are_in_the_vocabulary(rollout):
    tokens = generate(rollout)
    assert tokens.shape == (B, 2 + 5, N)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens[:, :2], PROMPT)
    assert 0 <= tokens.min() <= tokens.max() < K


def test_what_was_generated_does_not_depend_on_what_follows(rollout):
    whole = generate(rollout)
    np.testing.assert_array_equal(
        generate(rollout, actions=ACTIONS[:, :2]), whole[:, :4]
    )
    # Nor on later actions.
    other = np.concatenate([ACTIONS[:, :3], 2 - ACTIONS[:, 3:]], axis=1)
    np.testing.assert_array_equal(generate(rollout, actions=other)[:, :5], whole[:, :5])


def test_videos_of_a_batch_are_independent(rollout):
    whole = generate(rollout)
    tokens, between, actions = PROMPT.copy(), BETWEEN.copy(), ACTIONS.copy()
    tokens[1], between[1], actions[1] = (tokens[1] + 1) % K, 0, 2 - actions[1]
    other = generate(rollout, tokens, between, actions)
    np.testing.assert_array_equal(other[0], whole[0])
    assert (other[1] != whole[1]).any()


def test_equal_videos_of_a_batch_draw_differently(rollout):
    same = [np.repeat(x[:1], B, axis=0) for x in (PROMPT, BETWEEN, ACTIONS)]
    tokens = generate(rollout, *same)
    assert (tokens[0] != tokens[1]).any()


def test_equal_seeds_make_equal_videos_and_others_others(rollout):
    np.testing.assert_array_equal(generate(rollout, seed=1), generate(rollout, seed=1))
    assert (generate(rollout, seed=1) != generate(rollout, seed=2)).any()


def test_actions_steer(rollout):
    before = generate(rollout)
    for index in range(5):
        actions = ACTIONS.copy()
        actions[:, index] = (actions[:, index] + 1) % 3
        changed = (generate(rollout, actions=actions) != before).any(axis=(0, 2))
        # At once, in the frame the action leads to, and in none before.
        assert changed[2 + index]
        assert not changed[: 2 + index].any()


def test_actions_between_prompt_frames_count(rollout):
    assert any(
        (
            generate(rollout, between=2 - BETWEEN, seed=seed)
            != generate(rollout, seed=seed)
        ).any()
        for seed in range(5)
    )


def test_one_program_makes_all_frames(rollout):
    generate(rollout)
    generate(rollout, PROMPT[:, :1], BETWEEN[:, :0], ACTIONS[:, :3])
    for program in (rollout._sample, rollout._remember):
        assert program.experimental_get_tracing_count() == 1


def test_play_is_generation_in_one_program(rollout):
    whole = generate(rollout, PROMPT[:, :1], BETWEEN[:, :0], ACTIONS, seed=5)
    played = compiled(rollout.play)(PROMPT[:, 0], ACTIONS, np.int32(5))
    np.testing.assert_array_equal(played, whole[:, 1:])


def test_no_frame_is_remembered_that_none_follows(genie):
    rollout, positions = Rollout(genie), []
    rollout._remember = lambda *inputs: positions.append(int(inputs[-1]))
    rollout._sample = lambda *inputs: PROMPT[:, 0]
    generate(rollout)
    assert positions == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def eager():
    """Runs compiled functions as plain Python, which is faster for a few frames."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def reference_tokens(genie, num_steps):
    """The same from the definition: no cache, no noise, all frames at each step."""
    actions = np.concatenate([BETWEEN, ACTIONS], axis=1)
    codes = ops.convert_to_numpy(genie.action_vectors(actions))
    tokens = PROMPT
    for _ in range(ACTIONS.shape[1]):
        tokens = np.concatenate([tokens, np.zeros((B, 1, N), "int32")], axis=1)
        time = tokens.shape[1]
        masked = np.zeros(tokens.shape, bool)
        masked[:, -1] = True
        for step in range(num_steps):
            logits = genie.dynamics(tokens, codes[:, : time - 1], masked)[:, -1]
            log_shares = ops.convert_to_numpy(ops.log_softmax(logits))
            answer = np.where(masked[:, -1], log_shares.argmax(axis=-1), tokens[:, -1])
            confidence = np.where(masked[:, -1], log_shares.max(axis=-1), np.inf)
            order = np.argsort(confidence, axis=-1)
            count = int(
                num_left_masked(step, num_steps, N, masked[0, -1].sum(dtype="int32"))
            )
            tokens[:, -1] = answer
            masked[:, -1] = False
            for row in range(B):
                masked[row, -1, order[row, :count]] = True
    return tokens


@pytest.mark.parametrize("kind", ["genie", "guided"])
def test_cached_generation_equals_the_definition_past_the_window(kind, eager, request):
    genie = request.getfixturevalue(kind)
    greedy = Rollout(genie, num_steps=4, temperature=0.0, choice_temperature=0.0)
    tokens = generate(greedy)
    assert tokens.shape[1] > WINDOW + 2
    np.testing.assert_array_equal(tokens, reference_tokens(genie, num_steps=4))


@pytest.mark.parametrize("prompt_frames", [1, 2])
def test_video_of_prompt_and_frames_that_follow(genie, eager, prompt_frames):
    rollout = Rollout(genie, num_steps=2)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (B, prompt_frames, 8, 12, 3), dtype="uint8")
    actions = ACTIONS[:, :2]
    generated = ops.convert_to_numpy(rollout.generate(video, actions, seed=3))
    assert generated.shape == (B, prompt_frames + 2, 8, 12, 3)
    assert generated.dtype == np.float32
    assert 0 <= generated.min() <= generated.max() <= 1
    between = genie.latent_action_model.infer_actions(video)
    tokens = generate(
        rollout, genie.tokenizer.tokenize(video), between, actions, seed=3
    )
    np.testing.assert_allclose(generated, genie.tokenizer.detokenize(tokens), atol=1e-5)
    np.testing.assert_allclose(
        generated[:, :prompt_frames],
        genie.tokenizer(video)["reconstruction"],
        atol=1e-5,
    )
