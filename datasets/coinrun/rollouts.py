"""Plays CoinRun levels and cuts what happens into episodes.

Levels are played by processes, for threads would wait for the interpreter's lock between
the steps of the game, a quarter of their time. Each runs this file as a script, so that
building a dataset never imports the user's own script again, as multiprocessing would.
"""

import collections
import contextlib
import io
import itertools
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import BinaryIO, NamedTuple

import deflate
import numpy as np

FRAME_SHAPE = (64, 64, 3)
NUM_ACTIONS = 15
# The others do what action 4 does: nothing.
_NUM_DISTINCT_ACTIONS = 9
NUM_THEMES = 6
# procgen ends an episode that has come to neither coin nor death after this many steps.
TIMEOUT = 1_000

# Of libdeflate, which writes the streams of zlib: 12% smaller than zlib's level 1 in less
# time. Level 6 saves another 3% in 1.4 times the time, level 12 another 9% in 50 times.
_COMPRESSION = 4
# Second half of the seed (level seed, purpose), one number for each thing drawn at random.
_ACTIONS = 0


class Levels(NamedTuple):
    """Which levels a dataset plays, and for how long.

    Attributes:
        description: in a few words.
        splits: the level seeds of each split; no two splits share one.
        steps_per_level: how many actions are taken in each level.
        one_episode: whether a level is left when its first episode ends.
        hold: for how many steps, on average, an action is held; see `draw_actions`.
    """

    description: str
    splits: Mapping[str, range]
    steps_per_level: int
    one_episode: bool = False
    hold: int = 1


DATASETS = {
    "random_hard": Levels(
        "Random policy, hard levels, 11.1M frames: Genie's CoinRun.",
        {
            "train": range(10_000),
            "validation": range(10_000, 10_100),
            "test": range(20_000, 21_000),
        },
        1_000,
    ),
    "random_hard_small": Levels(
        "The same with fewer, shorter levels: 124,000 frames.",
        {
            "train": range(200),
            "validation": range(10_000, 10_016),
            "test": range(20_000, 20_032),
        },
        500,
    ),
    "held_hard_small": Levels(
        "The same with each action held for 8 steps on average: the figure walks.",
        {
            "train": range(200),
            "validation": range(10_000, 10_016),
            "test": range(20_000, 20_032),
        },
        500,
        hold=8,
    ),
    "genieredux": Levels(
        "Random policy, hard levels, an episode each: as much as GenieRedux's data.",
        {
            "train": range(100_000, 179_200),
            "validation": range(179_200, 188_000),
            "test": range(20_000, 21_000),
        },
        500,
        one_episode=True,
    ),
}


class Episode(NamedTuple):
    """One life in one level; entry t of each column belongs to step t.

    Attributes:
        level_seed: the level played.
        theme: what its ground is made of, 0..5.
        index: 0 for the first episode played in this level, 1 for the next, ...
        frames: what the agent saw, one zlib string for each uint8 (64, 64, 3) image.
        actions: int32 (steps,), what it then did, 0..14.
        rewards: float32 (steps,), what it got for that.
        is_terminal: True if the last action won the coin or killed the agent, False if
            the episode was cut short.
    """

    level_seed: int
    theme: int
    index: int
    frames: list[bytes]
    actions: np.ndarray
    rewards: np.ndarray
    is_terminal: bool

    def pixels(self) -> np.ndarray:
        """The frames, uint8 (steps, 64, 64, 3)."""
        frames = b"".join(map(zlib.decompress, self.frames))
        return np.frombuffer(frames, np.uint8).reshape(-1, *FRAME_SHAPE)


def compress(frame: np.ndarray) -> bytes:
    """Returns the zlib string of a frame."""
    return bytes(deflate.zlib_compress(frame, _COMPRESSION))


def make_environment(level_seed: int):
    """Returns a gym3 environment that plays this one level of hard CoinRun for ever."""
    # procgen imports gym, which prints from this table that it is no longer maintained.
    import gym_notices.notices

    gym_notices.notices.notices.clear()
    import procgen

    return procgen.ProcgenGym3Env(
        num=1,
        env_name="coinrun",
        distribution_mode="hard",
        num_levels=1,
        start_level=level_seed,
        # Chooses among the levels allowed, of which there is one, but would be taken
        # from the operating system if left out.
        rand_seed=0,
        num_threads=0,
    )


def read_theme(environment) -> int:
    """Returns what the ground of an environment's level is made of, 0..5.

    The level decides it, so it is the same in all its episodes. The game hands it out
    with its whole state alone, which ends with seven numbers of 4 bytes: wall_theme,
    has_support, facing_right, is_on_crate, gravity, air_control and an end mark.

    Raises:
        ValueError: if no theme is there.
    """
    (state,) = environment.callmethod("get_state")
    (theme,) = struct.unpack("<i", state[-28:-24])
    if not 0 <= theme < NUM_THEMES:
        raise ValueError(
            f"The theme of a CoinRun level is expected in 0..{NUM_THEMES - 1}, 28 "
            f"bytes before the end of the game's state; received {theme}: use another "
            "version of procgen."
        )
    return theme


def draw_actions(level_seed: int, num_steps: int, hold: int = 1) -> np.ndarray:
    """Returns the random actions taken in a level, int32 (num_steps,).

    A figure that is pushed for a single step stands still in the next: it walks, and
    jumps to the side, only if actions are held. Those that are held are of the nine that
    do something else than others, or the figure would mostly stand.

    Args:
        level_seed: the level.
        num_steps: how many.
        hold: after each step another action is drawn with a probability of 1 / `hold`.
    """
    rng = np.random.default_rng((level_seed, _ACTIONS))
    choices = NUM_ACTIONS if hold == 1 else _NUM_DISTINCT_ACTIONS
    actions = rng.integers(choices, size=num_steps, dtype=np.int32)
    drawn = (rng.random(num_steps) < 1 / hold) * np.arange(num_steps)
    return actions[np.maximum.accumulate(drawn)]


def play_level(
    level_seed: int, num_steps: int, one_episode: bool = False, hold: int = 1
) -> list[Episode]:
    """Plays random actions in one level, restarting it whenever it ends.

    Args:
        level_seed: the level, 0..2**31-2.
        num_steps: how many actions to take in all.
        one_episode: whether to stop when the first episode ends.
        hold: as of `draw_actions`.

    Returns:
        The episodes, `num_steps` steps long together, or the first one alone.
    """
    actions = draw_actions(level_seed, num_steps, hold)
    frames = []
    # procgen hands out an observation together with the reward for reaching it; `is_first`
    # tells that it opens a new episode, and that the one before is over.
    rewards = np.zeros((num_steps + 1, 1), np.float32)
    is_first = np.zeros((num_steps + 1, 1), bool)
    environment = make_environment(level_seed)
    theme = read_theme(environment)
    for step in range(num_steps):
        rewards[step], observation, is_first[step] = environment.observe()
        if one_episode and step and is_first[step]:
            num_steps = step
            break
        frames.append(compress(observation["rgb"]))
        environment.act(actions[step : step + 1])
    rewards[num_steps], _, is_first[num_steps] = environment.observe()
    environment.close()
    rewards, is_first = rewards[:, 0], is_first[:, 0]

    begins = np.flatnonzero(is_first[:num_steps])
    ends = [*begins[1:], num_steps]
    episodes = []
    for index, (begin, end) in enumerate(zip(begins, ends)):
        timed_out = end - begin == TIMEOUT and rewards[end] == 0
        episodes.append(
            Episode(
                level_seed=level_seed,
                theme=theme,
                index=index,
                frames=frames[begin:end],
                actions=actions[begin:end],
                rewards=rewards[begin + 1 : end + 1],
                is_terminal=bool(is_first[end] and not timed_out),
            )
        )
    return episodes


def play_levels(
    level_seeds: Sequence[int],
    num_steps: int,
    one_episode: bool = False,
    hold: int = 1,
    num_workers: int | None = None,
) -> Iterator[list[Episode]]:
    """Plays many levels side by side.

    Args:
        level_seeds: the levels.
        num_steps: how many actions to take in each.
        one_episode: whether to leave a level when its first episode ends.
        hold: as of `draw_actions`.
        num_workers: how many levels to play at a time, by default `count_workers()`.

    Yields:
        The episodes of each level, in the order of `level_seeds`.
    """
    num_workers = num_workers or count_workers()

    def play(level_seed):
        # To the end, or the process would be taken for one that is stopped.
        (episodes,) = players.play([level_seed], num_steps, one_episode, hold)
        return episodes

    with Players() as players:
        pool = futures.ThreadPoolExecutor(num_workers)
        waiting = collections.deque()
        try:
            for level_seed in level_seeds:
                waiting.append(pool.submit(play, level_seed))
                # Far enough ahead to keep the workers busy, and no further: a level of
                # 1,000 steps holds 2 MB, and there are 10,000 levels.
                if len(waiting) > 2 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            players.end()  # Or a stopped caller would wait for the levels begun.
            pool.shutdown(cancel_futures=True)


def count_workers() -> int:
    """As many as the environment variable COINRUN_WORKERS says; else as there are cores.

    Raises:
        ValueError: if it says no number.
    """
    text = os.environ.get("COINRUN_WORKERS")
    if text is None:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or not int(text):
        raise ValueError(
            f"COINRUN_WORKERS must be a number from 1 on, received {text!r}."
        )
    return int(text)


class Players:
    """Processes that play levels, as many as there are calls of `play` at a time.

    To be used in a `with` statement, which ends them.
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
        """Kills the processes, so that a `play` under way in another thread fails."""
        self._ended = True
        for process in self._all:
            process.kill()

    def play(
        self,
        level_seeds: Sequence[int],
        num_steps: int,
        one_episode: bool = False,
        hold: int = 1,
    ) -> Iterator[list[Episode]]:
        """Yields the `play_level` of levels, which one process plays ahead of the caller.

        Raises:
            ChildProcessError: if the process was killed, or cannot play.
        """
        try:
            process = self._idle.pop()
        except IndexError:
            process = _start()
            self._all.append(process)
            if self._ended:  # Perhaps just before it was among them.
                process.kill()
        try:
            for seed, next_seed in itertools.pairwise([None, *level_seeds, None]):
                if next_seed is not None:
                    request = f"{next_seed} {num_steps} {one_episode:d} {hold}\n"
                    process.stdin.write(request.encode())
                    process.stdin.flush()
                if seed is not None:
                    yield _receive(process.stdout, seed)
        except (EOFError, BrokenPipeError) as error:
            code = process.wait()
            why = (
                "memory may be too little for so many of them"
                if code < 0
                else "it has said why"
            )
            raise ChildProcessError(
                f"A process that played CoinRun ended with code {code}: {why}."
            ) from error
        except BaseException:  # Also if the caller stops before the last level.
            _end(process)
            raise
        self._idle.append(process)


def _start() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C is for the caller, who ends this process.
    )


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(BrokenPipeError), process:
        process.kill()


def _receive(file: BinaryIO, level_seed: int) -> list[Episode]:
    """Reads what `_send` has written."""
    size = int.from_bytes(file.read(8), "little")
    message = file.read(size)
    if not size or len(message) < size:
        raise EOFError
    arrays = iter(np.load(io.BytesIO(message)).values())
    episodes = []
    theme = int(next(arrays))
    for index, (sizes, frames, *columns, is_terminal) in enumerate(
        zip(arrays, arrays, arrays, arrays, arrays)
    ):
        ends = np.cumsum(sizes)
        parts = [bytes(frames[i:j]) for i, j in zip(ends - sizes, ends)]
        episodes.append(
            Episode(level_seed, theme, index, parts, *columns, bool(is_terminal))
        )
    return episodes


def _send(file: BinaryIO, episodes: list[Episode]) -> None:
    """Writes a size in 8 bytes and an .npz file."""
    arrays = [episodes[0].theme]
    for episode in episodes:
        sizes = list(map(len, episode.frames))
        frames = np.frombuffer(b"".join(episode.frames), np.uint8)
        arrays += sizes, frames, episode.actions, episode.rewards, episode.is_terminal
    message = io.BytesIO()
    np.savez(message, *arrays)
    file.write(message.tell().to_bytes(8, "little"))
    file.write(message.getvalue())
    file.flush()


def _serve() -> None:
    """Plays the levels asked for on standard input until that is closed."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    file = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What the game may print must not be taken for an episode.
    for line in sys.stdin:
        level_seed, num_steps, one_episode, hold = map(int, line.split())
        _send(file, play_level(level_seed, num_steps, bool(one_episode), hold))


if __name__ == "__main__":
    _serve()
