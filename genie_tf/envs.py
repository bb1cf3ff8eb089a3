"""Worlds as Gymnasium environments, alone or a batch at a time.

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

from genie_tf.files import local_path
from genie_tf.layers import check_whole
from genie_tf.media import load_prompt_image
from genie_tf.models import WorldModel
from genie_tf.pixels import to_bytes
from genie_tf.presets.loading import outline_preset
from genie_tf.samplers import WorldSampler, replace_videos

_WINDOW_SIDE = 512  # Pixels of the window's longer side, or a little less.


class GenieEnv(gymnasium.Env):
    """A world to play: latent actions in, frames out, uint8 (height, width, 3).

    Rewards are 0, and no episode terminates. `reset(seed=...)` decides which prompt is
    drawn and all frames that follow; `reset(options={"prompt": ...})` sets the prompt.

    Args:
        preset: name or folder of a trained world; or, but for `gymnasium.make`, a `WorldModel`.
        prompts: first frames to draw from: names of pictures, or frames as they are in
            datasets, uint8 (height, width, 3).
        sampling: settings that frames are sampled with, such as {"temperature": 0.0};
            others have the defaults of the world's dynamics.
        max_episode_steps: after how many steps an episode is truncated; None for never.
        render_mode: "rgb_array", or "human", a window, which needs pygame.

    Raises:
        ValueError: if the folder holds no world, a prompt is none, or there is no such
            sampling, render mode or number of steps.
        gymnasium.error.DependencyNotInstalled: if pygame is needed and not installed.
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
        self._plays = _Plays(preset, prompts, sampling, max_episode_steps, 1)
        self.observation_space = self._plays.observation_space
        self.action_space = self._plays.action_space
        self.render_mode = render_mode
        self._window = _Window(self) if render_mode == "human" else None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode.

        Args:
            seed: of all that is drawn from here on, a whole number from 0.
            options: a dict that may have the `prompt` to start from.

        Returns:
            The prompt as the world has it, and an empty dict.

        Raises:
            ValueError: if the seed or prompt can't be used, or there is no prompt to
                draw.
            RuntimeError: in a process where no world can run, see `check_can_run`.
        """
        _check_options(options)
        super().reset(seed=_check_seed(seed))
        self._plays.begin([self.np_random], [True], options)
        self._show()
        return self._plays.frames[0], {}

    def step(self, action):
        """The next frame, 0, False, whether the episode is truncated, and {}.

        Raises:
            ValueError: if there is no such action.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        self._plays.step(_check_actions(self.action_space, action)[None])
        self._show()
        return self._plays.frames[0], 0.0, False, bool(self._plays.truncated[0]), {}

    def render(self):
        """The newest frame if the mode is "rgb_array"; a window shows it by itself.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        self._plays.check_begun("render")
        if self.render_mode == "rgb_array":
            return self._plays.frames[0]

    def close(self):
        """Close the window."""
        if self._window:
            self._window.close()

    def _show(self):
        if self._window:
            self._window.show(self._plays.frames[0])


class GenieVectorEnv(gymnasium.vector.VectorEnv):
    """So many plays of a world at once, each frame of them all made by one program.

    Each is as a `GenieEnv` with its seed. One that was truncated starts again with the
    next step, whose action it ignores (`AutoresetMode.NEXT_STEP`).

    Args:
        preset, prompts, sampling, max_episode_steps: as of `GenieEnv`.
        num_envs: how many plays.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: as of `GenieEnv`.
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
        self._plays = _Plays(preset, prompts, sampling, max_episode_steps, num_envs)
        self._generators = [None] * num_envs
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space = self._plays.observation_space
        self.single_action_space = self._plays.action_space
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
            seed: one for each play, or None; or the first one's, from which they count
                on. Whole numbers from 0.
            options: a dict that may have the `prompt` to start from, one for all; and
                `reset_mask`, bool (num_envs,): the others continue.

        Returns:
            The newest frame of each play, and an empty dict.

        Raises:
            ValueError: if the seeds, the mask or the prompt can't be used, or there is no
                prompt to draw.
            RuntimeError: in a process where no world can run, see `check_can_run`.
        """
        _check_options(options)
        seeds = self._seeds_of(seed)
        which = self._check_mask((options or {}).get("reset_mask"))
        for i in np.flatnonzero(which):
            if seeds[i] is not None or self._generators[i] is None:
                self._generators[i], _ = seeding.np_random(seeds[i])
        self._plays.begin(self._generators, which, options)
        return self._plays.frames, {}

    def step(self, actions):
        """The next frames, 0, False, whether episodes are truncated, and {}.

        Raises:
            ValueError: if there are no such actions.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        actions = _check_actions(self.action_space, actions)
        ended = self._plays.truncated
        self._plays.step(actions)
        if ended.any():
            self._plays.begin(self._generators, ended)
        never = np.zeros(self.num_envs, bool)
        rewards = np.zeros(self.num_envs)
        return self._plays.frames, rewards, never, self._plays.truncated, {}

    def render(self):
        """The newest frame of each play, if the mode is "rgb_array".

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        self._plays.check_begun("render")
        if self.render_mode == "rgb_array":
            return tuple(self._plays.frames)

    def _seeds_of(self, seed) -> list[int | None]:
        """A seed for each play."""
        if isinstance(seed, (list, tuple)) or np.ndim(seed) == 1:
            if len(seed) != self.num_envs:
                raise ValueError(
                    f"There must be a seed for each of the {self.num_envs} plays; "
                    f"received {len(seed)}."
                )
            return [_check_seed(one) for one in seed]
        first = _check_seed(seed)
        return [None if first is None else first + i for i in range(self.num_envs)]

    def _check_mask(self, mask) -> np.ndarray:
        """Which plays restart."""
        if mask is None:
            return np.ones(self.num_envs, bool)
        which = np.asarray(mask)
        if which.dtype != bool or which.shape != (self.num_envs,):
            raise ValueError(
                f"`reset_mask` must be bool of shape {(self.num_envs,)}; received "
                f"{which.dtype} of shape {which.shape}."
            )
        if not which.all():
            self._plays.check_begun("reset some plays only")
        return which


class _Plays:
    """Plays of a world, side by side.

    Attributes:
        frames: uint8 (plays, height, width, 3), the newest of each; never changed.
        truncated: bool (plays,), whether each is over.
    """

    def __init__(self, preset, prompts, sampling, max_steps, num_plays):
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
        self._sampling = outline.dynamics.complete_sampling(sampling)
        self._max_steps = max_steps
        self._prompts = [self._frame_of(prompt) for prompt in prompts]
        self._state = None
        self.frames = np.zeros((num_plays, *shape), np.uint8)
        self._seeds, self._ages = np.zeros((2, num_plays), np.int32)

    @functools.cached_property
    def _sampler(self):
        # Not before the first frame: Gymnasium makes an environment, looks at its spaces
        # and then forks, which is too late once TensorFlow or JAX has run.
        preset = self._preset
        world = (
            preset if isinstance(preset, WorldModel) else WorldModel.from_preset(preset)
        )
        return WorldSampler(world)

    @property
    def truncated(self):
        limit = np.inf if self._max_steps is None else self._max_steps
        return self._ages >= limit

    def begin(self, generators, which, options=None):
        """Start the plays anew of which `which` is true."""
        which = np.array(which)
        prompts = np.zeros_like(self.frames)
        for i in np.flatnonzero(which):
            prompts[i] = self._prompt(generators[i], options or {})
            self._seeds[i] = generators[i].integers(2**31)
        state, video = self._sampler.reset(prompts[:, None])
        if self._state is not None:
            state = replace_videos(self._state, which, state)
        self._state = state
        first = which[:, None, None, None]
        self.frames = np.where(
            first, to_bytes(ops.convert_to_numpy(video[:, 0])), self.frames
        )
        self._ages = np.where(which, 0, self._ages)

    def step(self, actions):
        self.check_begun("step")
        self._state, frames = self._sampler.step(
            self._state, actions, self._seeds, self._sampling
        )
        self.frames = to_bytes(ops.convert_to_numpy(frames))
        self._ages = self._ages + 1

    def check_begun(self, what):
        if self._state is None:
            raise gymnasium.error.ResetNeeded(
                f"Cannot {what} before the first `reset`."
            )

    def _prompt(self, generator, options):
        if "prompt" in options:
            return self._frame_of(options["prompt"])
        if not self._prompts:
            raise ValueError(
                "There is no prompt to draw: give the environment `prompts`, or `reset` "
                'options={"prompt": ...}.'
            )
        return self._prompts[generator.integers(len(self._prompts))]

    def _frame_of(self, prompt):
        """A prompt, the name of a picture or an array, as uint8 (height, width, 3)."""
        shape = self.observation_space.shape
        if isinstance(prompt, (str, os.PathLike)):
            return load_prompt_image(local_path(prompt), *shape[:2])
        try:
            prompt = np.asarray(prompt)
        except ValueError:  # Of lists of several lengths.
            prompt = np.asarray(None)
        if prompt.shape != shape or prompt.dtype != np.uint8:
            raise ValueError(
                f"A prompt must be the name of a picture, or uint8 of shape {shape}; "
                f"received {prompt.dtype} of shape {prompt.shape}."
            )
        return prompt


class _Window:
    """Shows the frames of an environment, enlarged."""

    def __init__(self, env: GenieEnv):
        try:
            import pygame
        except ImportError as error:
            raise gymnasium.error.DependencyNotInstalled(
                'render_mode="human" needs pygame: pip install '
                '"gymnasium[classic-control]".'
            ) from error
        height, width, _ = env.observation_space.shape
        scale = max(1, _WINDOW_SIDE // max(height, width))
        self._pygame, self._fps = pygame, env.metadata["render_fps"]
        pygame.display.init()
        pygame.display.set_caption("genie_tf")
        self._screen = pygame.display.set_mode((scale * width, scale * height))
        self._clock = pygame.time.Clock()

    def __deepcopy__(self, memo):
        return self  # Copies of an environment share its window.

    def show(self, frame):
        """Show a frame, uint8 (height, width, 3), and wait until it is time."""
        picture = self._pygame.surfarray.make_surface(frame.transpose(1, 0, 2))
        enlarged = self._pygame.transform.scale(picture, self._screen.get_size())
        self._screen.blit(enlarged, (0, 0))
        self._pygame.event.pump()
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self):
        self._pygame.display.quit()


def _check_render_mode(env, mode):
    if mode not in (None, *env.metadata["render_modes"]):
        raise ValueError(
            f"`render_mode` must be one of {', '.join(env.metadata['render_modes'])}, or "
            f"None; received {mode!r}."
        )


def _check_actions(space, actions) -> np.ndarray:
    """Actions as an array, if they are in a space."""
    try:
        array = np.asarray(actions)
    except ValueError:  # Of lists of several lengths.
        array = np.asarray(None)
    if array.dtype.kind not in "iu" or not space.contains(array):
        raise ValueError(
            f"An action must be in {space}; received {reprlib.repr(actions)}."
        )
    return array


def _check_seed(seed) -> int | None:
    """A seed as Gymnasium takes it; experiments have them from NumPy."""
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
