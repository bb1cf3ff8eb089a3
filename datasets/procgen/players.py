"""Players of Procgen levels, which cut the play into episodes.

Levels are played in processes: threads would spend a quarter of their time waiting for
the interpreter lock. Each process is a new interpreter, because multiprocessing would
import the user's script again.
"""

import collections
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from genie_tf.datasets.frames import compress_frame
from genie_tf.datasets.procgen.environment import (
    ACTION_NAMES,
    FRAME_SHAPE,
    GAMES,
    make_environment,
)
from genie_tf.datasets.procgen.policies import (
    Policy,
    PolicyError,
    check_actions,
    make_policy,
)

# Second part of the seed: one number per random quantity.
_ACTIONS = 0

# Program of a player process. Without TFDS, as registering datasets takes a second.
_COMMAND = """import sys
sys.path[:] = {path}
sys.modules["tensorflow_datasets"] = None
import genie_tf.datasets
del sys.modules["tensorflow_datasets"]
from genie_tf.datasets.procgen.players import serve
serve()
"""


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
    """

    game: str
    mode: str
    steps_per_level: int
    one_episode: bool = False
    policy: str = "random"
    policy_arguments: Mapping[str, Any] = {}
    levels_at_once: int = 1
    actions: Sequence[str] = ()


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
    """

    level_seed: int
    index: int
    policy: str
    level_numbers: dict[str, int]
    frames: list[bytes]
    actions: np.ndarray
    rewards: np.ndarray
    is_terminal: bool

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
        episode.

    Raises:
        PolicyError: if the policy does not return valid actions.
    """
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
        self._environment = make_environment(settings.game, settings.mode, level_seed)
        self._numbers = {
            name: number.read(self._environment)
            for name, number in GAMES[settings.game].level_numbers.items()
        }
        self.rng = np.random.default_rng((level_seed, _ACTIONS))
        self._keys = [ACTION_NAMES.index(x) for x in settings.actions or ACTION_NAMES]
        self._frames, self._actions, self._rewards = [], [], []
        self._action = np.zeros(1, np.int32)
        self.is_first = []
        self.is_over = False
        self._observe()

    def _observe(self) -> float:
        """Observe the next frame, and return the reward for reaching it."""
        reward, observation, is_first = self._environment.observe()
        self.frame = observation["rgb"]
        self.is_first.append(bool(is_first[0]))
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
                )
            )
        return episodes


def play_in_processes(
    settings: Settings, level_seeds: Sequence[int], num_workers: int
) -> Iterator[list[Episode]]:
    """Play many levels in several processes.

    Args:
        settings: how to play.
        level_seeds: seeds of the levels.
        num_workers: number of processes.

    Yields:
        The episodes of each level, in the order of `level_seeds`.

    Raises:
        PolicyError: if the policy cannot be created, or does not return valid actions.
    """
    parts = divide_levels(settings, level_seeds)

    def play(part):
        # Read to the end; otherwise `Players` would end the process.
        (episodes,) = players.play(settings, [part])
        return episodes

    with Players() as players:
        pool = futures.ThreadPoolExecutor(num_workers)
        waiting = collections.deque()
        try:
            for part in parts:
                waiting.append(pool.submit(play, part))
                # Just far enough ahead to keep the workers busy: a level of 1,000 steps
                # takes 2 MB, and there can be 10,000 levels.
                if len(waiting) > 2 * num_workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            players.end()  # Do not make a stopped caller wait.
            pool.shutdown(cancel_futures=True)


def divide_levels(
    settings: Settings, level_seeds: Sequence[int]
) -> list[Sequence[int]]:
    """Return the groups of levels that are played in lockstep."""
    size = settings.levels_at_once
    return [level_seeds[i : i + size] for i in range(0, len(level_seeds), size)]


def count_workers(dataset: str) -> int:
    """Return the number of player processes: by default, one per core.

    An environment variable, such as COINRUN_WORKERS for "coinrun", sets another number.

    Raises:
        ValueError: if the variable is not a positive number.
    """
    variable = f"{dataset.upper()}_WORKERS"
    text = os.environ.get(variable)
    if text is None:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or not int(text):
        raise ValueError(
            f"{variable} must be a number of 1 or more; received {text!r}."
        )
    return int(text)


class Players:
    """Processes that play levels, one per concurrent call of `play`.

    Use it in a `with` statement, which ends the processes.
    """

    def __init__(self):
        self._idle = []
        self._all = []
        self._ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        for process in self._all:
            _end(process)

    def end(self) -> None:
        """Kill the processes, so that a `play` in another thread fails."""
        self._ended = True
        for process in self._all:
            process.kill()

    def play(
        self, settings: Settings, parts: Sequence[Sequence[int]]
    ) -> Iterator[list[list[Episode]]]:
        """Yield the `play_levels` of parts, played in one process ahead of the caller.

        Args:
            settings: how to play.
            parts: groups of levels that are played in lockstep.

        Raises:
            PolicyError: if the policy cannot be created, or does not return valid
                actions.
            ChildProcessError: if the process was killed, or cannot play.
        """
        try:
            process = self._idle.pop()
        except IndexError:
            process = _start()
            self._all.append(process)
            if self._ended:  # `end` may have run just before the append.
                process.kill()
        try:
            for part, next_part in itertools.pairwise([None, *parts, None]):
                if next_part is not None:
                    request = {"settings": settings, "levels": list(next_part)}
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                    process.stdin.flush()
                if part is not None:
                    yield _receive(process.stdout)
        except (EOFError, BrokenPipeError) as error:
            code = process.wait()
            reason = (
                "there may be too little memory for this many processes"
                if code < 0
                else "see its output above"
            )
            raise ChildProcessError(
                f"A process that played {settings.game} ended with code {code}: {reason}."
            ) from error
        except BaseException:  # Including a caller that stops early.
            _end(process)
            raise
        self._idle.append(process)


def _start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # The caller gets Ctrl-C and ends this process.
    )


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(BrokenPipeError), process:
        process.kill()


def _receive(file: BinaryIO) -> list[list[Episode]]:
    """Read episodes written by `_send_levels`.

    Raises:
        PolicyError: if the message reports an error.
        EOFError: if the message is incomplete.
    """
    size = int.from_bytes(file.read(8), "little")
    message = file.read(size)
    if not size or len(message) < size:
        raise EOFError
    arrays = iter(np.load(io.BytesIO(message)).values())
    answer = json.loads(str(next(arrays)))
    if "error" in answer:
        raise PolicyError(answer["error"])
    levels = []
    for level in answer["levels"]:
        levels.append([])
        for fields in level:
            sizes, frames, actions, rewards = itertools.islice(arrays, 4)
            ends = np.cumsum(sizes)
            parts = [bytes(frames[i:j]) for i, j in zip(ends - sizes, ends)]
            levels[-1].append(
                Episode(**fields, frames=parts, actions=actions, rewards=rewards)
            )
    return levels


def _send(file: BinaryIO, answer: Mapping[str, Any], arrays: Sequence = ()) -> None:
    """Write the size of an .npz file, 8 bytes, and the file."""
    message = io.BytesIO()
    np.savez(message, json.dumps(answer), *arrays)
    file.write(message.tell().to_bytes(8, "little"))
    file.write(message.getvalue())
    file.flush()


def _send_levels(file: BinaryIO, levels: list[list[Episode]]) -> None:
    arrays = []
    for episode in itertools.chain(*levels):
        sizes = list(map(len, episode.frames))
        frames = np.frombuffer(b"".join(episode.frames), np.uint8)
        arrays += sizes, frames, episode.actions, episode.rewards
    columns = "frames", "actions", "rewards"
    fields = [
        [
            {k: v for k, v in episode._asdict().items() if k not in columns}
            for episode in level
        ]
        for level in levels
    ]
    _send(file, {"levels": fields}, arrays)


def serve() -> None:
    """Play levels requested on standard input until it is closed."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    file = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Printed text must not mix with episodes.
    policy = policy_settings = None
    for line in sys.stdin:
        request = json.loads(line)
        settings = Settings(*request["settings"])
        try:
            if settings != policy_settings:
                policy = make_policy(
                    settings.policy, settings.game, settings.policy_arguments
                )
                policy_settings = settings
            _send_levels(file, play_levels(settings, request["levels"], policy))
        except PolicyError as error:
            _send(file, {"error": str(error)})
