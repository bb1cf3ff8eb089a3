"""Worlds as Gymnasium environments, single or vectorized.

Importing this module registers `genie_tf/Genie-v0`.
"""

import functools
import numbers
import os
import reprlib
from collections.abc import Mapping, Sequence

import numpy as np

try:
    import gymnasium
except ImportError as error:
    raise ImportError(
        "genie_tf.envs needs Gymnasium: pip install genie_tf[gym]."
    ) from error
from gymnasium.utils import seeding
from gymnasium.vector.utils import batch_space
from keras import ops

from genie_tf.env_window import Window
from genie_tf.files import local_path
from genie_tf.layers import check_whole
from genie_tf.media import load_prompt_image
from genie_tf.media.prompts import Prompt, check_prompt_actions
from genie_tf.models import WorldModel
from genie_tf.pixels import to_bytes
from genie_tf.presets.loading import outline_preset
from genie_tf.samplers import WorldSampler, replace_videos


class GenieEnv(gymnasium.Env):
    """A world as an environment: actions in, frames out, uint8 (height, width, 3).

    Rewards are 0, and episodes never terminate. `reset(seed=...)` determines the prompt
    and all following frames; `reset(options={"prompt": ...})` sets the prompt.

    Args:
        preset: name or folder of a trained world, or a `WorldModel` (but not with
            `gymnasium.make`).
        prompts: prompts to draw from: image files; frames, uint8 (height, width, 3); or
            several frames each, as `Prompt(frames, actions)`.
        sampling: sampling settings, such as {"temperature": 0.0}; the others have the
            defaults of the world's dynamics.
        max_episode_steps: number of steps after which an episode is truncated; None for
            never.
        render_mode: "rgb_array", or "human" for a window, which needs pygame.

    Raises:
        ValueError: if the preset is not a world, or a prompt, sampling setting, render
            mode or number of steps can't be used.
        gymnasium.error.DependencyNotInstalled: if pygame is needed and not installed.

    Example:
        env = GenieEnv("runs/genie/model", prompts=["prompt.png"])
        frame, _ = env.reset(seed=0)
        frame, *_ = env.step(env.action_space.sample())
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}

    def __init__(
        self,
        preset: WorldModel | str | os.PathLike,
        prompts: Sequence = (),
        sampling: Mapping | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        _check_render_mode(self, render_mode)
        self._episodes = _Episodes(preset, prompts, sampling, max_episode_steps, 1)
        self.observation_space = self._episodes.observation_space
        self.action_space = self._episodes.action_space
        self.render_mode = render_mode
        self._window = Window(self) if render_mode == "human" else None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode.

        Args:
            seed: seed of all random draws from here on, a whole number from 0.
            options: None, or a dict that can set the `prompt`.

        Returns:
            The last frame of the prompt as decoded by the world, and an empty dict.

        Raises:
            ValueError: if the seed or prompt can't be used, or there is no prompt to draw
                from.
            RuntimeError: in a process where no world can run, see `check_can_run`.
        """
        _check_options(options)
        super().reset(seed=_check_seed(seed))
        self._episodes.begin([self.np_random], [True], options)
        self._update_window()
        return self._episodes.frames[0], {}

    def step(self, action):
        """Return the next frame, 0, False, whether the episode is truncated, and {}.

        Raises:
            ValueError: if there is no such action.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        self._episodes.step(_check_actions(self.action_space, action)[None])
        self._update_window()
        return (
            self._episodes.frames[0],
            0.0,
            False,
            bool(self._episodes.truncated[0]),
            {},
        )

    def render(self):
        """Return the newest frame if the mode is "rgb_array"; a window needs no call.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        self._episodes.check_begun("render")
        if self.render_mode == "rgb_array":
            return self._episodes.frames[0]

    def close(self):
        """Close the window."""
        if self._window:
            self._window.close()

    def _update_window(self):
        if self._window:
            self._window.show(self._episodes.frames[0])


class GenieVectorEnv(gymnasium.vector.VectorEnv):
    """Environments of one world that compute their frames together, in one program.

    Each equals a `GenieEnv` with its seed. A truncated one resets at the next step and
    ignores the action of that step (`AutoresetMode.NEXT_STEP`).

    Args:
        preset, prompts, sampling, max_episode_steps: see `GenieEnv`.
        num_envs: number of environments.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: see `GenieEnv`.

    Example:
        envs = GenieVectorEnv("runs/genie/model", num_envs=8, prompts=["prompt.png"])
        frames, _ = envs.reset(seed=0)
        frames, *_ = envs.step(envs.action_space.sample())
    """

    metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        preset: WorldModel | str | os.PathLike,
        num_envs: int = 1,
        prompts: Sequence = (),
        sampling: Mapping | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        _check_render_mode(self, render_mode)
        check_whole(num_envs=num_envs)
        self._episodes = _Episodes(
            preset, prompts, sampling, max_episode_steps, num_envs
        )
        self._generators = [None] * num_envs
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = self._episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict | None = None,
    ):
        """Start episodes.

        Args:
            seed: whole number from 0 for the first environment, which the next ones
                count up; or a list with a seed or None for each environment; or None.
            options: None, or a dict that can set a common `prompt`, and `reset_mask`,
                bool (num_envs,), to reset only some environments.

        Returns:
            The newest frame of each environment, and an empty dict.

        Raises:
            ValueError: if the seeds, the mask or the prompt can't be used, or there is no
                prompt to draw from.
            RuntimeError: in a process where no world can run, see `check_can_run`.
        """
        _check_options(options)
        seeds = self._parse_seeds(seed)
        mask = self._check_mask((options or {}).get("reset_mask"))
        for i in np.flatnonzero(mask):
            if seeds[i] is not None or self._generators[i] is None:
                self._generators[i], _ = seeding.np_random(seeds[i])
        self._episodes.begin(self._generators, mask, options)
        return self._episodes.frames, {}

    def step(self, actions):
        """Return the next frames, 0, False, whether episodes are truncated, and {}.

        Raises:
            ValueError: if there are no such actions.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        actions = _check_actions(self.action_space, actions)
        ended = self._episodes.truncated
        self._episodes.step(actions)
        if ended.any():
            self._episodes.begin(self._generators, ended)
        never = np.zeros(self.num_envs, bool)
        rewards = np.zeros(self.num_envs)
        return self._episodes.frames, rewards, never, self._episodes.truncated, {}

    def render(self):
        """Return the newest frame of each environment if the mode is "rgb_array".

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        self._episodes.check_begun("render")
        if self.render_mode == "rgb_array":
            return tuple(self._episodes.frames)

    def _parse_seeds(self, seed) -> list[int | None]:
        """Return a seed for each environment."""
        if isinstance(seed, (list, tuple)) or np.ndim(seed) == 1:
            if len(seed) != self.num_envs:
                raise ValueError(
                    f"There must be a seed for each of the {self.num_envs} environments; "
                    f"received {len(seed)}."
                )
            return [_check_seed(one) for one in seed]
        first = _check_seed(seed)
        return [None if first is None else first + i for i in range(self.num_envs)]

    def _check_mask(self, mask) -> np.ndarray:
        """Return which environments are reset."""
        if mask is None:
            return np.ones(self.num_envs, bool)
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (self.num_envs,):
            raise ValueError(
                f"`reset_mask` must be bool of shape {(self.num_envs,)}; received "
                f"{mask.dtype} of shape {mask.shape}."
            )
        if not mask.all():
            self._episodes.check_begun("reset only some environments")
        return mask


class _Episodes:
    """A batch of episodes in a world, one per environment.

    Attributes:
        frames: newest frame of each, uint8 (envs, height, width, 3); never modified.
        truncated: whether each is over, bool (envs,).
    """

    def __init__(self, preset, prompts, sampling, max_steps, num_envs):
        if max_steps is not None:
            check_whole(max_episode_steps=max_steps)
        if isinstance(prompts, (str, os.PathLike)):
            raise ValueError(f"`prompts` must be a list; received {str(prompts)!r}.")
        outline = (
            preset
            if isinstance(preset, WorldModel)
            else outline_preset(preset, WorldModel)
        )
        shape = outline.tokenizer.frame_shape
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(outline.num_actions)
        self._preset = preset
        self._infers_actions = outline.infers_actions
        self._sampling = outline.dynamics.complete_sampling(sampling)
        self._max_steps = max_steps
        self._prompts = [self._load_prompt(prompt) for prompt in prompts]
        self._state = None
        self.frames = np.zeros((num_envs, *shape), np.uint8)
        self._seeds, self._ages = np.zeros((2, num_envs), np.int32)

    @functools.cached_property
    def _sampler(self):
        # Not before the first frame: Gymnasium makes an environment to read its spaces
        # and then forks, which must not happen after TensorFlow or JAX has run.
        preset = self._preset
        world = (
            preset if isinstance(preset, WorldModel) else WorldModel.from_preset(preset)
        )
        return WorldSampler(world)

    @property
    def truncated(self):
        limit = np.inf if self._max_steps is None else self._max_steps
        return self._ages >= limit

    def begin(self, generators, mask, options=None):
        """Start new episodes where `mask` is true."""
        mask = np.array(mask)
        prompts = {}
        for i in np.flatnonzero(mask):
            prompts[i] = self._choose_prompt(generators[i], options or {})
            self._seeds[i] = generators[i].integers(2**31)
        forms = {(len(x.frames), x.actions is None) for x in prompts.values()}
        for time, infers in sorted(forms):  # A batch has one form.
            frames = np.zeros((len(mask), time, *self.frames.shape[1:]), np.uint8)
            actions = None if infers else np.zeros((len(mask), time - 1), np.int32)
            which = np.zeros_like(mask)
            for i, prompt in prompts.items():
                if (len(prompt.frames), prompt.actions is None) == (time, infers):
                    which[i], frames[i] = True, prompt.frames
                    if not infers:
                        actions[i] = prompt.actions
            state, video = self._sampler.reset(frames, actions)
            if self._state is not None:
                state = replace_videos(self._state, which, state)
            self._state = state
            self.frames = np.where(
                which[:, None, None, None],
                to_bytes(ops.convert_to_numpy(video[:, -1])),
                self.frames,
            )
        self._ages = np.where(mask, 0, self._ages)

    def step(self, actions):
        self.check_begun("step")
        self._state, frames = self._sampler.step(
            self._state, actions, self._seeds, self._sampling
        )
        self.frames = to_bytes(ops.convert_to_numpy(frames))
        self._ages = self._ages + 1

    def check_begun(self, action):
        if self._state is None:
            raise gymnasium.error.ResetNeeded(
                f"Cannot {action} before the first `reset`."
            )

    def _choose_prompt(self, generator, options):
        if "prompt" in options:
            return self._load_prompt(options["prompt"])
        if not self._prompts:
            raise ValueError(
                "There is no prompt to draw from: pass `prompts` to the environment, or "
                'options={"prompt": ...} to `reset`.'
            )
        return self._prompts[generator.integers(len(self._prompts))]

    def _load_prompt(self, prompt) -> Prompt:
        shape = self.observation_space.shape
        if isinstance(prompt, (str, os.PathLike)):
            return Prompt(load_prompt_image(local_path(prompt), *shape[:2])[None])
        is_prompt = isinstance(prompt, Prompt)
        try:
            frames = np.asarray(prompt.frames if is_prompt else [prompt])
        except ValueError:  # Ragged lists.
            frames = np.asarray([None])
        if frames.shape[1:] != shape or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(
                f"A prompt must be an image file, or uint8 of shape {shape}; received "
                f"{frames.dtype} of shape {frames.shape[not is_prompt :]}."
            )
        # One frame has no actions.
        actions = prompt.actions if is_prompt and len(frames) > 1 else None
        prompt = Prompt(frames, actions)
        check_prompt_actions(prompt, self._infers_actions, self.action_space.n)
        return prompt


def _check_render_mode(env, mode):
    if mode not in (None, *env.metadata["render_modes"]):
        raise ValueError(
            f"`render_mode` must be one of {', '.join(env.metadata['render_modes'])}, or "
            f"None; received {mode!r}."
        )


def _check_actions(space, actions) -> np.ndarray:
    """Return actions as an array, after checking that they are in a space."""
    try:
        array = np.asarray(actions)
    except ValueError:  # Ragged lists.
        array = np.asarray(None)
    if array.dtype.kind not in "iu" or not space.contains(array):
        raise ValueError(
            f"An action must be in {space}; received {reprlib.repr(actions)}."
        )
    return array


def _check_seed(seed) -> int | None:
    """Return a seed as an int or None; NumPy numbers are accepted too."""
    if seed is None:
        return None
    if isinstance(seed, np.ndarray) and seed.shape == ():
        seed = seed[()]
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if not whole or seed < 0:
        raise ValueError(
            f"A seed must be a whole number from 0; received {reprlib.repr(seed)}."
        )
    return int(seed)


def _check_options(options):
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(
            f"`options` must be a dict, or None; received {reprlib.repr(options)}."
        )


gymnasium.register(
    "genie_tf/Genie-v0",
    entry_point="genie_tf.envs:GenieEnv",
    vector_entry_point="genie_tf.envs:GenieVectorEnv",
)
