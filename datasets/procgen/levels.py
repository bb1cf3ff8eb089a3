"""Levels of Procgen games in play, which is cut into episodes."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genie_tf.datasets.frames import compress_frame
from genie_tf.datasets.procgen.environment import (
    ACTION_NAMES,
    FRAME_SHAPE,
    GAMES,
    make_environment,
)
from genie_tf.datasets.procgen.policies import Policy, check_actions

# Second part of the seed: one number per random quantity.
_ACTIONS = 0


class Settings(NamedTuple):
    """How levels are played.

    Attributes:
        game, mode: names in `environment.GAMES`.
        steps_per_level: number of actions in each level.
        one_episode: whether play stops at the end of a level's first episode.
        policy, policy_arguments: see `policies.make_policy`.
        levels_at_once: number of levels played in lockstep, so that a policy sees a
            batch of frames.
        actions: names of the actions that the policy chooses from; () for all.
        paint_velocity: see `make_environment`.
        solved: whether an episode ended by success is "ignored"; "stored" with each
            episode; or "required", so that other episodes are left out.
    """

    game: str
    mode: str
    steps_per_level: int
    one_episode: bool = False
    policy: str = "random"
    policy_arguments: Mapping[str, Any] = {}
    levels_at_once: int = 1
    actions: Sequence[str] = ()
    paint_velocity: bool = False
    solved: str = "ignored"


class Episode(NamedTuple):
    """One life in one level; entry t of each column belongs to step t.

    Attributes:
        level_seed: seed of the level.
        index: number of the episode within its level, from 0.
        policy: name of the policy.
        level_numbers: integers that describe the level, by name.
        frames: observations, one zlib string per uint8 (64, 64, 3) frame.
        actions: int32 (steps,), the action taken on each observation, a position in
            `Settings.actions`.
        rewards: float32 (steps,), the reward for each action.
        is_terminal: True if the last action ended the episode by success or failure,
            False if the episode was cut short.
        is_solved: True if the last action ended it by success.
    """

    level_seed: int
    index: int
    policy: str
    level_numbers: dict[str, int]
    frames: list[bytes]
    actions: np.ndarray
    rewards: np.ndarray
    is_terminal: bool
    is_solved: bool

    def pixels(self) -> np.ndarray:
        """Return the frames, uint8 (steps, 64, 64, 3)."""
        frames = b"".join(map(zlib.decompress, self.frames))
        return np.frombuffer(frames, np.uint8).reshape(-1, *FRAME_SHAPE)


def play_levels(
    settings: Settings, level_seeds: Sequence[int], policy: Policy
) -> list[list[Episode]]:
    """Play some levels in lockstep, and restart each one whenever it ends.

    Args:
        settings: how to play.
        level_seeds: seeds of the levels, 0..2**31-2.
        policy: policy that selects the actions.

    Returns:
        The episodes of each level, `steps_per_level` steps in total, or only the first
        episode; and of these, only the solved ones if the settings require it.

    Raises:
        PolicyError: if the policy does not return valid actions.
    """
    policy.open_levels(settings, level_seeds)
    levels = [_Level(settings, level_seed) for level_seed in level_seeds]
    rngs = [level.rng for level in levels]
    policy.start_levels(settings.steps_per_level, rngs)
    for _ in range(settings.steps_per_level):
        is_first = [level.is_first[-1] for level in levels]
        if True in is_first:
            policy.start_episodes(np.array(is_first))
        actions = policy.act(_stack_frames(levels), rngs)
        num_actions = len(settings.actions or ACTION_NAMES)
        actions = check_actions(actions, policy, len(levels), num_actions)
        for level, action in zip(levels, actions):
            level.step(action)
        if settings.one_episode and all(level.is_over for level in levels):
            break
    return [level.finish(policy.name) for level in levels]


def _stack_frames(levels: Sequence["_Level"]) -> np.ndarray:
    """Return the frames of levels; for a single level, without a copy."""
    if len(levels) == 1:
        return levels[0].frame
    return np.concatenate([level.frame for level in levels])


class _Level:
    """Level in play.

    Attributes:
        rng: random numbers for the policy.
        frame: uint8 (1, 64, 64, 3), the current observation.
        is_first: for each frame so far, whether it is the first of an episode.
        is_over: whether play has stopped.
    """

    def __init__(self, settings: Settings, level_seed: int):
        self._settings = settings
        self._level_seed = level_seed
        self._environment = make_environment(
            settings.game, settings.mode, level_seed, settings.paint_velocity
        )
        self._numbers = {
            name: number.read(self._environment)
            for name, number in GAMES[settings.game].level_numbers.items()
        }
        self.rng = np.random.default_rng((level_seed, _ACTIONS))
        self._keys = [ACTION_NAMES.index(x) for x in settings.actions or ACTION_NAMES]
        self._frames, self._actions, self._rewards = [], [], []
        self._action = np.zeros(1, np.int32)
        self.is_first = []
        self._was_solved = []
        self.is_over = False
        self._observe()

    def _observe(self) -> float:
        """Observe the next frame, and return the reward for reaching it."""
        reward, observation, is_first = self._environment.observe()
        self.frame = observation["rgb"]
        self.is_first.append(bool(is_first[0]))
        self._was_solved.append(
            self.is_first[-1]
            and bool(self._environment.get_info()[0]["prev_level_complete"])
        )
        return reward[0]

    def step(self, action: int) -> None:
        """Take an action, unless the level is over."""
        if self.is_over:
            return
        self._frames.append(compress_frame(self.frame))
        self._actions.append(action)
        self._action[0] = self._keys[action]
        self._environment.act(self._action)
        self._rewards.append(self._observe())
        # A first frame means that the previous episode has ended.
        self.is_over = self._settings.one_episode and self.is_first[-1]

    def finish(self, policy: str) -> list[Episode]:
        """Close the game, and return the episodes played."""
        self._environment.close()
        timeout = GAMES[self._settings.game].timeouts[self._settings.mode]
        num_steps = len(self._actions)
        actions = np.array(self._actions, np.int32)
        rewards = np.array(self._rewards, np.float32)
        begins = np.flatnonzero(self.is_first[:num_steps])
        episodes = []
        for index, (begin, end) in enumerate(zip(begins, [*begins[1:], num_steps])):
            timed_out = end - begin == timeout and rewards[end - 1] == 0
            episodes.append(
                Episode(
                    level_seed=self._level_seed,
                    index=index,
                    policy=policy,
                    level_numbers=self._numbers,
                    frames=self._frames[begin:end],
                    actions=actions[begin:end],
                    rewards=rewards[begin:end],
                    is_terminal=self.is_first[end] and not timed_out,
                    is_solved=self._was_solved[end],
                )
            )
        if self._settings.solved == "required":
            return [episode for episode in episodes if episode.is_solved]
        return episodes


def divide_levels(
    settings: Settings, level_seeds: Sequence[int]
) -> list[Sequence[int]]:
    """Return the groups of levels that are played in lockstep."""
    size = settings.levels_at_once
    return [level_seeds[i : i + size] for i in range(0, len(level_seeds), size)]
