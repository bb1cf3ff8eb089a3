"""A world is a Gymnasium environment, and a batch of them is each one alone."""

import subprocess
import sys
from unittest import mock

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env
from PIL import Image

from genie_tf.envs import GenieEnv, GenieVectorEnv
from genie_tf.presets import save_preset
from genie_tf.samplers import Sampling
from genie_tf.testing.tiny_models import FRAME_SHAPE, tiny_batch, tiny_genie

GENIE = tiny_genie()
PROMPTS = list(tiny_batch(0, batch=5)["video"][:, 0])
SETTINGS = {"prompts": PROMPTS, "sampling": Sampling(2), "max_episode_steps": 3}
ACTIONS = np.random.default_rng(0).integers(5, size=(9, 3))


def play(env, actions, **how):
    """All frames of an episode, and whether each was the last, the reset's included."""
    frame, _ = env.reset(**how)
    frames, ends = [frame], [False]
    for action in actions:
        frame, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, info) == (0, False, {})
        frames.append(frame)
        ends.append(truncated)
    return np.stack(frames), ends


@pytest.fixture(scope="module")
def env():
    return GenieEnv(GENIE, **SETTINGS)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "genie"
    save_preset(GENIE, folder, "A card.")
    return folder


@pytest.fixture
def eager():
    """Runs compiled functions as plain Python, which is faster for a few frames."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eager")
def test_gymnasium_finds_nothing_wrong(preset, monkeypatch):
    pygame = mock.MagicMock()
    monkeypatch.setitem(sys.modules, "pygame", pygame)
    made = gymnasium.make("genie_tf/Genie-v0", preset=preset, prompts=PROMPTS)
    check_env(made.unwrapped)
    # The window: 512 pixels wide, frames with the width first.
    pygame.display.set_mode.assert_called_once_with((512, 512))
    (shown,) = pygame.surfarray.make_surface.call_args.args
    assert shown.shape == FRAME_SHAPE and shown.dtype == np.uint8
    pygame.display.quit.assert_called_once_with()


def test_equal_seeds_play_alike_and_others_otherwise(env):
    actions = ACTIONS[:3, 0]
    first, ends = play(env, actions, seed=1)
    assert ends == [False, False, False, True]
    np.testing.assert_array_equal(play(env, actions, seed=1)[0], first)
    assert (play(env, actions, seed=2)[0] != first).any()
    # What follows without a seed is decided too.
    later = [play(env, actions)[0] for _ in range(2)]
    play(env, actions, seed=2)
    for expected in later:
        np.testing.assert_array_equal(play(env, actions)[0], expected)


def test_prompts_are_drawn_or_given(env, tmp_path):
    drawn = {env.reset(seed=seed)[0].tobytes() for seed in range(40)}
    given = [env.reset(options={"prompt": prompt})[0] for prompt in PROMPTS]
    assert {frame.tobytes() for frame in given} == drawn
    Image.fromarray(PROMPTS[0]).save(tmp_path / "frame.png")
    from_picture, _ = env.reset(options={"prompt": tmp_path / "frame.png"})
    np.testing.assert_array_equal(from_picture, given[0])
    reconstruction = GENIE.tokenizer(PROMPTS[0][None, None])["reconstruction"][0, 0]
    assert np.abs(from_picture - 255 * np.array(reconstruction)).max() < 0.51


@pytest.mark.usefixtures("eager")
def test_the_newest_frame_is_rendered():
    env = GenieEnv(GENIE, **SETTINGS, render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), frame)
    frame, *_ = env.step(1)
    np.testing.assert_array_equal(env.render(), frame)
    envs = GenieVectorEnv(GENIE, 2, **SETTINGS, render_mode="rgb_array")
    frames, _ = envs.reset(seed=0)
    for shown, frame in zip(envs.render(), frames, strict=True):
        np.testing.assert_array_equal(shown, frame)


@pytest.fixture(scope="module")
def envs():
    return GenieVectorEnv(GENIE, 3, **SETTINGS)


def test_a_batch_is_environments_alone(env, envs):
    frames, _ = envs.reset(seed=5)
    steps = [envs.step(actions) for actions in ACTIONS]
    frames = np.stack([frames, *[step[0] for step in steps]])
    for _, rewards, terminated, _, infos in steps:
        assert rewards.shape == (3,) and not rewards.any() and not terminated.any()
        assert infos == {}
    # After three steps all are over; the next step ignores its action and starts anew.
    ends = np.stack([step[3] for step in steps])
    np.testing.assert_array_equal(ends[:, 0], [0, 0, 1, 0, 0, 0, 1, 0, 0])
    for i in range(3):
        parts = [play(env, ACTIONS[:3, i], seed=5 + i)[0]]
        parts.append(play(env, ACTIONS[4:7, i])[0])
        parts.append(play(env, ACTIONS[8:, i])[0])
        np.testing.assert_array_equal(frames[:, i], np.concatenate(parts))


def test_one_of_a_batch_starts_again_and_the_others_go_on(env, envs):
    envs.reset(seed=5)
    envs.step(ACTIONS[0])
    envs.step(ACTIONS[1])
    only = np.array([False, True, False])
    after, _ = envs.reset(seed=[None, 9, None], options={"reset_mask": only})
    frames, _, _, ended, _ = envs.step(ACTIONS[2])
    np.testing.assert_array_equal(ended, ~only)
    np.testing.assert_array_equal(frames[0], play(env, ACTIONS[:3, 0], seed=5)[0][-1])
    expected, _ = play(env, ACTIONS[2:3, 1], seed=9)
    np.testing.assert_array_equal([after[1], frames[1]], expected)
    # The other two start anew with the next step, and this one goes on.
    frames, _, _, ended, _ = envs.step(ACTIONS[3])
    assert not ended.any()
    expected, _ = play(env, ACTIONS[2:4, 1], seed=9)
    np.testing.assert_array_equal(frames[1], expected[-1])


@pytest.mark.usefixtures("eager")
def test_a_batch_is_made_by_name(preset):
    envs = gymnasium.make_vec(
        "genie_tf/Genie-v0", 2, preset=preset, max_episode_steps=4, prompts=PROMPTS
    )
    assert isinstance(envs, GenieVectorEnv)
    assert envs.reset(seed=0)[0] in envs.observation_space
    assert envs.action_space == gymnasium.spaces.MultiDiscrete([5, 5])


def test_wrong_input_is_told_in_one_sentence(env, envs):
    def refused(function, *inputs, **settings) -> str:
        with pytest.raises((ValueError, gymnasium.error.Error)) as error:
            function(*inputs, **settings)
        return str(error.value)

    assert refused(GenieEnv, GENIE, max_episode_steps=0) == (
        "`max_episode_steps` must be 1 or more, or None; received 0."
    )
    assert refused(GenieEnv, GENIE, render_mode="ansi") == (
        "`render_mode` must be one of human, rgb_array, or None; received 'ansi'."
    )
    assert refused(GenieVectorEnv, GENIE, 2, render_mode="human") == (
        "`render_mode` must be one of rgb_array, or None; received 'human'."
    )
    assert "`num_steps` must be 1" in refused(GenieEnv, GENIE, sampling=Sampling(0))
    assert "There is no preset none" in refused(GenieEnv, "none")
    assert refused(GenieEnv, GENIE, [PROMPTS[0][:8]]) == (
        "A prompt must be the name of a picture, or uint8 of shape (16, 16, 3); "
        "received uint8 of shape (8, 16, 3)."
    )
    assert refused(env.reset, options={"prompt": "none.png"}) == (
        "There is no prompt image none.png."
    )
    fresh = GenieEnv(GENIE)
    assert refused(fresh.step, 0) == "Call `reset` before the first `step`."
    assert refused(fresh.reset) == (
        "There is no prompt to draw: give the environment `prompts`, or `reset` "
        'options={"prompt": ...}.'
    )
    assert refused(env.step, 5) == "An action must be in Discrete(5); received 5."
    assert refused(envs.step, [0, 1, 5]) == (
        "An action must be in MultiDiscrete([5 5 5]); received [0, 1, 5]."
    )


@pytest.mark.parametrize(
    ("missing", "program", "sentence"),
    [
        (
            "gymnasium",
            "import genie_tf.envs",
            "ImportError: genie_tf.envs needs Gymnasium: pip install genie_tf[gym].",
        ),
        (
            "pygame",
            "from genie_tf.testing.tiny_models import tiny_genie; from genie_tf.envs "
            "import GenieEnv; GenieEnv(tiny_genie(), render_mode='human')",
            'gymnasium.error.DependencyNotInstalled: render_mode="human" needs pygame: '
            'pip install "gymnasium[classic-control]".',
        ),
    ],
)
def test_what_is_not_installed_is_named(missing, program, sentence):
    program = f"import sys; sys.modules['{missing}'] = None; {program}"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert ended.stderr.splitlines()[-1] == sentence
