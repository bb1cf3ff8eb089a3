"""Worlds are Gymnasium environments; vector environments equal single ones."""

import concurrent.futures
import copy
import multiprocessing
import pickle
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
from genie_tf.presets.saving import save_preset
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import (
    FRAME_SHAPE,
    tiny_batch,
    tiny_genie,
    tiny_tokenizer,
)

GENIE = tiny_genie()
SAMPLER = WorldSampler(GENIE)
PROMPTS = list(tiny_batch(0, batch=5)["video"][:, 0])
SETTINGS = {"prompts": PROMPTS, "sampling": {"num_steps": 2}, "max_episode_steps": 3}
ACTIONS = np.random.default_rng(0).integers(5, size=(9, 3))


def play(env, actions, **how):
    """Return all frames of an episode, from the reset on, and whether each was the last."""
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
    """Run compiled functions as plain Python, which is faster for a few frames."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eager")
def test_gymnasium_check_passes(preset, monkeypatch):
    pygame = mock.MagicMock()
    monkeypatch.setitem(sys.modules, "pygame", pygame)
    env = gymnasium.make("genie_tf/Genie-v0", preset=preset, prompts=PROMPTS)
    check_env(env.unwrapped)
    # The window is 512 pixels wide; its frames have the width first.
    pygame.display.set_mode.assert_called_once_with((512, 512))
    (frame,) = pygame.surfarray.make_surface.call_args.args
    assert frame.shape == FRAME_SHAPE and frame.dtype == np.uint8
    pygame.display.quit.assert_called_once_with()


def test_seed_determines_episode(env):
    actions = ACTIONS[:3, 0]
    first, ends = play(env, actions, seed=1)
    assert ends == [False, False, False, True]
    np.testing.assert_array_equal(play(env, actions, seed=1)[0], first)
    assert (play(env, actions, seed=2)[0] != first).any()
    # The seed also determines later episodes without a seed.
    later = [play(env, actions)[0] for _ in range(2)]
    play(env, actions, seed=2)
    for expected in later:
        np.testing.assert_array_equal(play(env, actions)[0], expected)


def test_prompts_are_drawn_or_passed(env, tmp_path):
    drawn = {env.reset(seed=seed)[0].tobytes() for seed in range(40)}
    given = [env.reset(options={"prompt": prompt})[0] for prompt in PROMPTS]
    assert {frame.tobytes() for frame in given} == drawn
    Image.fromarray(PROMPTS[0]).save(tmp_path / "frame.png")
    from_file, _ = env.reset(options={"prompt": tmp_path / "frame.png"})
    np.testing.assert_array_equal(from_file, given[0])
    reconstruction = GENIE.tokenizer(PROMPTS[0][None, None])["reconstruction"][0, 0]
    assert np.abs(from_file - 255 * np.array(reconstruction)).max() < 0.51


@pytest.mark.usefixtures("eager")
def test_render_returns_newest_frame():
    env = GenieEnv(GENIE, **SETTINGS, render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), frame)
    frame, *_ = env.step(1)
    np.testing.assert_array_equal(env.render(), frame)
    envs = GenieVectorEnv(GENIE, 2, **SETTINGS, render_mode="rgb_array")
    frames, _ = envs.reset(seed=0)
    for rendered, frame in zip(envs.render(), frames, strict=True):
        np.testing.assert_array_equal(rendered, frame)


@pytest.fixture(scope="module")
def envs():
    return GenieVectorEnv(GENIE, 3, **SETTINGS)


def test_vector_environment_equals_single_environments(env, envs):
    frames, _ = envs.reset(seed=5)
    steps = [envs.step(actions) for actions in ACTIONS]
    frames = np.stack([frames, *[step[0] for step in steps]])
    for _, rewards, terminated, _, infos in steps:
        assert rewards.shape == (3,) and not rewards.any() and not terminated.any()
        assert infos == {}
    # After three steps all are over; the next step ignores its action and resets.
    ends = np.stack([step[3] for step in steps])
    np.testing.assert_array_equal(ends[:, 0], [0, 0, 1, 0, 0, 0, 1, 0, 0])
    for i in range(3):
        parts = [play(env, ACTIONS[:3, i], seed=5 + i)[0]]
        parts.append(play(env, ACTIONS[4:7, i])[0])
        parts.append(play(env, ACTIONS[8:, i])[0])
        np.testing.assert_array_equal(frames[:, i], np.concatenate(parts))


def test_one_environment_resets_while_others_continue(env, envs):
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
    # The next step resets the other two, and this one continues.
    frames, _, _, ended, _ = envs.step(ACTIONS[3])
    assert not ended.any()
    expected, _ = play(env, ACTIONS[2:4, 1], seed=9)
    np.testing.assert_array_equal(frames[1], expected[-1])


@pytest.mark.usefixtures("eager")
def test_make_vec_makes_vector_environment(preset):
    envs = gymnasium.make_vec(
        "genie_tf/Genie-v0", 2, preset=preset, max_episode_steps=4, prompts=PROMPTS
    )
    assert isinstance(envs, GenieVectorEnv)
    assert envs.reset(seed=0)[0] in envs.observation_space
    assert envs.action_space == gymnasium.spaces.MultiDiscrete([5, 5])


def test_wrong_input_is_rejected_in_one_sentence(env, envs):
    def error_message(function, *inputs, **settings) -> str:
        with pytest.raises((ValueError, gymnasium.error.Error)) as error:
            function(*inputs, **settings)
        return str(error.value)

    assert error_message(GenieEnv, GENIE, max_episode_steps=0) == (
        "`max_episode_steps` must be a whole number from 1 to 2147483647; received 0."
    )
    assert error_message(GenieEnv, GENIE, render_mode="ansi") == (
        "`render_mode` must be one of human, rgb_array, or None; received 'ansi'."
    )
    assert error_message(GenieVectorEnv, GENIE, 2, render_mode="human") == (
        "`render_mode` must be one of rgb_array, or None; received 'human'."
    )
    assert "`num_steps` must be a whole number, 1" in error_message(
        GenieEnv, GENIE, sampling={"num_steps": 0}
    )
    assert "A MaskGitDynamics has no setting 'steps'" in error_message(
        GenieEnv, GENIE, sampling={"steps": 2}
    )
    assert "There is no preset none" in error_message(GenieEnv, "none")
    assert error_message(GenieEnv, GENIE, [PROMPTS[0][:8]]) == (
        "A prompt must be an image file, or uint8 of shape (16, 16, 3); "
        "received uint8 of shape (8, 16, 3)."
    )
    assert error_message(env.reset, options={"prompt": "none.png"}) == (
        "There is no prompt image none.png."
    )
    fresh = GenieEnv(GENIE)
    assert error_message(fresh.step, 0) == "Cannot step before the first `reset`."
    assert error_message(fresh.render) == "Cannot render before the first `reset`."
    assert error_message(fresh.reset) == (
        "There is no prompt to draw from: pass `prompts` to the environment, or "
        'options={"prompt": ...} to `reset`.'
    )
    assert error_message(env.step, 5) == "An action must be in Discrete(5); received 5."
    assert error_message(envs.step, [0, 1, 5]) == (
        "An action must be in MultiDiscrete([5 5 5]); received [0, 1, 5]."
    )


SEEDS = [7, np.int64(7), np.uint8(7), np.array(7)]
NOT_SEEDS = [-1, np.int64(-1), 1.0, True, "7", b"7", np.float32(7), np.array(7.0), {}]


@pytest.mark.usefixtures("eager")
def test_seeds_are_whole_numbers(env, envs):
    expected, _ = env.reset(seed=7)
    frames, _ = envs.reset(seed=7)
    for seed in SEEDS:
        np.testing.assert_array_equal(env.reset(seed=seed)[0], expected)
        np.testing.assert_array_equal(envs.reset(seed=seed)[0], frames)
        assert env.np_random_seed == 7
    for seeds in ([7, 8, 9], (7, np.int32(8), 9), np.arange(7, 10), range(7, 10)):
        np.testing.assert_array_equal(envs.reset(seed=seeds)[0], frames)
    envs.reset(seed=[7, None, None])
    for seed in NOT_SEEDS:
        for reset, given in (
            (env.reset, seed),
            (envs.reset, seed),
            (envs.reset, [1, None, seed]),
        ):
            with pytest.raises(
                ValueError, match="seed must be a whole number from 0; "
            ):
                reset(seed=given)
    for seeds in ([7], [], (1, 2, 3, 4), np.arange(2)):
        with pytest.raises(
            ValueError, match="a seed for each of the 3 environments; received"
        ):
            envs.reset(seed=seeds)


@pytest.mark.usefixtures("eager")
def test_actions_are_whole_numbers(env, envs):
    for action in (1, np.int64(1), np.uint8(1), np.array(1), np.array(1, "int16")):
        env.reset(seed=0)
        frame = env.step(action)[0]
        env.reset(seed=0)
        np.testing.assert_array_equal(frame, env.step(1)[0])
    envs.reset(seed=0)
    for actions in (
        [0, 1, 2],
        (0, 1, 2),
        np.arange(3, dtype="int64"),
        np.uint8([1, 1, 1]),
    ):
        envs.step(actions)
    for action in (-1, 5, 1.0, True, "1", None, [1], np.array([1]), np.float32(1), {}):
        with pytest.raises(ValueError, match=r"An action must be in Discrete\(5\)"):
            env.step(action)
        for actions in ([0.0, 1, action], [action], action):
            with pytest.raises(ValueError, match="An action must be in MultiDiscrete"):
                envs.step(actions)


@pytest.mark.usefixtures("eager")
def test_options_of_wrong_type_are_rejected(env, envs):
    for options in ([], "prompt", 3):
        for reset in (env.reset, envs.reset):
            with pytest.raises(ValueError, match="`options` must be a dict, or None; "):
                reset(options=options)
    for prompt in (3, None, b"a.png", [[1], [1, 2]], PROMPTS[0] / 255, PROMPTS):
        with pytest.raises(ValueError, match="prompt must be an image file, or"):
            env.reset(options={"prompt": prompt})
    with pytest.raises(ValueError, match="Expected a path on this machine"):
        env.reset(options={"prompt": "gs://bucket/a.png"})
    envs.reset(seed=0)
    envs.reset(options={"reset_mask": [True, False, True]})
    for mask in (
        np.ones(2, bool),
        np.ones(3, int),
        [1, 0, 1],
        True,
        "yes",
        np.eye(3) > 0,
    ):
        with pytest.raises(ValueError, match="`reset_mask` must be bool of shape"):
            envs.reset(options={"reset_mask": mask})


def test_first_reset_must_start_all_environments():
    envs = GenieVectorEnv(GENIE, 3, **SETTINGS)
    with pytest.raises(
        gymnasium.error.ResetNeeded, match="Cannot reset only some environments"
    ):
        envs.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(gymnasium.error.ResetNeeded, match="Cannot render before the"):
        envs.render()


@pytest.mark.parametrize(
    "settings",
    [
        {"max_episode_steps": 1.5},
        {"max_episode_steps": True},
        {"sampling": "halton"},
        {"sampling": [("num_steps", 2)]},
        {"prompts": "a.png"},
        {"num_envs": 0},
        {"num_envs": 2.0},
    ],
    ids=str,
)
def test_settings_of_wrong_type_are_rejected(settings):
    with pytest.raises(ValueError, match="must be a "):
        GenieVectorEnv(GENIE, **settings)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "make_copy",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],  # noqa: S301
)
def test_copy_continues_equally(make_copy):
    env = GenieEnv(GENIE, **SETTINGS)
    env.reset(seed=3)
    env.step(1)
    twin = make_copy(env)
    mine = [env.step(2)[0], env.reset()[0], env.step(3)[0]]
    theirs = [twin.step(2)[0], twin.reset()[0], twin.step(3)[0]]
    np.testing.assert_array_equal(mine, theirs)


def test_copy_shares_compiled_world(env):
    env.reset(seed=0)  # Compiles it.
    assert copy.deepcopy(env)._episodes._sampler is env._episodes._sampler


def test_environments_can_be_closed_twice(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", mock.MagicMock())
    for env in (GenieEnv(GENIE, render_mode="human"), GenieVectorEnv(GENIE, 2)):
        env.close()
        env.close()


def test_forked_environment_reports_that_it_cannot_run(preset, env):
    env.reset(seed=0)  # TensorFlow runs.
    forked = gymnasium.make_vec(
        "genie_tf/Genie-v0",
        2,
        vectorization_mode="async",
        vector_kwargs={"context": "fork"},
        preset=preset,
        prompts=PROMPTS,
    )
    try:
        with pytest.raises(RuntimeError, match='start processes with context="spawn"'):
            forked.reset(seed=0)
    finally:
        forked.close(terminate=True)


@pytest.mark.parametrize(
    "function",
    [
        tiny_tokenizer,
        lambda: WorldSampler(GENIE),
        lambda: SAMPLER.reset(PROMPTS[0][None, None]),
        lambda: SAMPLER.step({}, [0]),
        lambda: GenieEnv(GENIE, PROMPTS).reset(),
    ],
)
def test_forked_process_reports_that_no_model_can_run(function):
    GENIE.tokenizer.tokenize(PROMPTS[0][None, None])
    context = multiprocessing.get_context("fork")
    pipe, theirs = context.Pipe()

    def run():
        try:
            function()
        except RuntimeError as error:
            theirs.send(str(error))

    process = context.Process(target=run)
    process.start()
    assert pipe.poll(60), "The process hangs."
    assert pipe.recv().startswith("Models cannot run in this process, which was ")
    process.join()


def test_forked_pool_reports_that_no_model_can_run():
    GENIE.tokenizer.tokenize(PROMPTS[0][None, None])
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        with pytest.raises(RuntimeError, match='context="spawn"'):
            pool.submit(tiny_genie).result(timeout=60)


def test_environments_forked_before_any_model_runs_work(preset):
    program = f"""
import gymnasium, numpy as np, tensorflow as tf, genie_tf.envs
tf.config.run_functions_eagerly(True)
envs = gymnasium.make_vec(
    "genie_tf/Genie-v0",
    1,
    vectorization_mode="async",
    vector_kwargs={{"context": "fork"}},
    preset={str(preset)!r},
    prompts=[np.zeros({FRAME_SHAPE}, "uint8")],
)
envs.reset(seed=0)
print(envs.step([1])[0].shape)
envs.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.stdout == "(1, 16, 16, 3)\n", ended.stderr


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
def test_missing_package_is_named(missing, program, sentence):
    program = f"import sys; sys.modules['{missing}'] = None; {program}"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert ended.stderr.splitlines()[-1] == sentence
