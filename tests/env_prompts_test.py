"""Environments that start from prompts of several frames."""

import numpy as np
import pytest
import tensorflow as tf

from genie_tf.envs import GenieEnv, GenieVectorEnv
from genie_tf.media import Prompt
from genie_tf.models import GuidedGenie, MaskGitDynamics
from genie_tf.pixels import to_bytes
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import tiny_batch, tiny_genie

GENIE = tiny_genie()
VIDEO = tiny_batch(0, batch=2, time=3)["video"]
SAMPLING = {"num_steps": 1}


@pytest.fixture(autouse=True, scope="module")
def eager():
    """Run compiled functions as plain Python, which is faster for a few frames."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def frames_after(video, actions, seed, action):
    """Return the last prompt frame as decoded, and the next frame."""
    sampler = WorldSampler(GENIE)
    state, prompt = sampler.reset(video[None], actions and [actions])
    _, frame = sampler.step(state, [action], [seed], SAMPLING)
    return [to_bytes(np.array(x)) for x in (prompt[0, -1], frame[0])]


@pytest.mark.parametrize("actions", [None, [4, 0]])
def test_episode_continues_after_all_frames(actions):
    env = GenieEnv(GENIE, prompts=[Prompt(VIDEO[0], actions)], sampling=SAMPLING)
    first, _ = env.reset(seed=1)
    frame, *_ = env.step(2)
    rng = np.random.Generator(np.random.PCG64(1))
    rng.integers(1)  # The choice of the prompt.
    expected = frames_after(VIDEO[0], actions, rng.integers(2**31), 2)
    np.testing.assert_array_equal([first, frame], expected)


def test_environments_can_have_prompts_of_different_lengths():
    envs = GenieVectorEnv(GENIE, 2, prompts=[VIDEO[0, 0]], sampling=SAMPLING)
    before, _ = envs.reset(seed=0)
    options = {"prompt": Prompt(VIDEO[1], [1, 3])}
    options["reset_mask"] = np.array([False, True])
    after, _ = envs.reset(options=options)
    np.testing.assert_array_equal(after[0], before[0])
    expected, _ = frames_after(VIDEO[1], [1, 3], 0, 0)
    np.testing.assert_array_equal(after[1], expected)


def test_guided_world_needs_actions():
    arguments = {**GENIE.dynamics.arguments(), "action_dim": 15}
    guided = GuidedGenie(GENIE.tokenizer, MaskGitDynamics(**arguments))
    for actions, received in (
        (None, ", which a guided world cannot infer; received none."),
        ([1], "; received 1."),
        ([1, 15], " from 0 to 14; received 15."),
    ):
        with pytest.raises(ValueError) as error:
            GenieEnv(guided, prompts=[Prompt(VIDEO[0], actions)])
        between = "Expected 2 prompt actions, between 3 prompt frames"
        assert str(error.value) == between + received
    env = GenieEnv(guided, prompts=[Prompt(VIDEO[0], [1, 14]), VIDEO[0, 0]])
    assert env.reset(seed=0)[0].shape == (16, 16, 3)


def test_frames_of_other_shapes_are_refused():
    for frames in (VIDEO[0, :, :8], VIDEO[0][:0], VIDEO[0] / 255, VIDEO):
        with pytest.raises(
            ValueError, match="A prompt must be an image file, or uint8"
        ):
            GenieEnv(GENIE, prompts=[Prompt(frames)])
