"""CoinRun as a TFDS dataset of RLDS episodes."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

# Relative, because `tfds build datasets/coinrun` imports this folder as `coinrun`.
from . import rollouts, shards

# A shard is up to 50 MB: what a worker loses when it is killed takes seconds to make again.
_STEPS_PER_SHARD = 25_000


@dataclasses.dataclass(eq=False, kw_only=True)
class CoinRunConfig(tfds.core.BuilderConfig):
    """Which levels each split plays, and for how long.

    Attributes:
        levels: the level seeds of each split, or "0:500" for those from 0 to 499; no two
            splits share one.
        steps_per_level: how many actions are taken in each level.
        one_episode: whether a level is left when its first episode ends.
        hold: for how many steps, on average, an action is held.

    Raises:
        ValueError: if a split has no levels, if splits share one, or if there are no
            steps.
    """

    levels: Mapping[str, Sequence[int] | str]
    steps_per_level: int
    one_episode: bool = False
    hold: int = 1

    def __post_init__(self):
        self.levels = {
            split: _parse_levels(split, levels) for split, levels in self.levels.items()
        }
        seeds = [seed for levels in self.levels.values() for seed in levels]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"A level is played twice in config {self.name!r}.")
        if self.steps_per_level < 1:
            raise ValueError(
                f"steps_per_level must be at least 1, received {self.steps_per_level}."
            )
        if self.hold < 1:
            raise ValueError(f"hold must be at least 1, received {self.hold}.")


def _parse_levels(split: str, levels: Sequence[int] | str) -> Sequence[int]:
    """Returns the level seeds that a config names."""
    if isinstance(levels, str):
        ends = re.fullmatch(r"(\d+):(\d+)", levels)
        seeds = range(*map(int, ends.groups())) if ends else ()
    else:
        seeds = levels
    if not seeds:
        raise ValueError(
            f"The levels of split {split!r} must be the first and the end, such as "
            f"'0:500', received {levels!r}."
        )
    return seeds


class Builder(shards.ResumableBuilder):
    """Builds CoinRun by playing it: nothing is downloaded.

    Shards are made side by side, as many as the environment variable COINRUN_WORKERS
    says, by default one for each core. A build that was stopped goes on where it was.
    """

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES = {
        "2.1.0": "The theme of each level; frames as before.",
        "2.0.0": "Episodes in the order of their levels; smaller frames.",
        "1.0.0": "Initial release.",
    }
    BUILDER_CONFIGS = [
        CoinRunConfig(
            name=name,
            description=levels.description,
            levels=levels.splits,
            steps_per_level=levels.steps_per_level,
            one_episode=levels.one_episode,
            hold=levels.hold,
        )
        for name, levels in rollouts.DATASETS.items()
    ]
    # TFDS would look below genie_tf/, where an editable install has no such folder.
    pkg_dir_path = epath.Path(__file__).parent

    def _info(self) -> tfds.core.DatasetInfo:
        step = {
            "observation": tfds.features.Tensor(
                shape=rollouts.FRAME_SHAPE,
                dtype=np.uint8,
                encoding=tfds.features.Encoding.ZLIB,
                doc="What the agent sees.",
            ),
            "action": tfds.features.Scalar(
                np.int32, doc="What it does next, 0..14: keys held down."
            ),
            "reward": tfds.features.Scalar(
                np.float32, doc="What that brings: 10 for the coin, otherwise 0."
            ),
            "discount": tfds.features.Scalar(
                np.float32, doc="0 if the action ends the episode, otherwise 1."
            ),
            "is_first": np.bool_,
            "is_last": np.bool_,
            "is_terminal": np.bool_,
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "steps": tfds.features.Dataset(step),
                    "episode_metadata": {
                        "level_seed": tfds.features.Scalar(np.int32),
                        "policy": tfds.features.Text(),
                        "theme": tfds.features.Scalar(
                            np.int32, doc="What the level's ground is made of, 0..5."
                        ),
                    },
                }
            ),
            homepage="https://github.com/openai/procgen",
        )

    def _settings(self) -> str:
        config = self.builder_config
        return repr(
            (
                str(self.version),
                config.levels,
                config.steps_per_level,
                config.one_episode,
                config.hold,
            )
        )

    def _num_workers(self) -> int:
        return rollouts.count_workers()

    def cancel(self) -> None:
        super().cancel()
        self._players.end()

    def _download_and_prepare(self, *args, **kwargs) -> None:
        with rollouts.Players() as self._players:
            super()._download_and_prepare(*args, **kwargs)

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator]]]:
        return {
            split: [
                functools.partial(self._play, levels)
                for levels in self._divide(all_levels)
            ]
            for split, all_levels in self.builder_config.levels.items()
        }

    def _divide(self, levels: Sequence[int]) -> list[Sequence[int]]:
        """Returns the levels of each shard of a split."""
        size = max(1, _STEPS_PER_SHARD // self.builder_config.steps_per_level)
        return [levels[first : first + size] for first in range(0, len(levels), size)]

    def _play(self, levels: Sequence[int]) -> Iterator[tuple[str, dict]]:
        """Yields the key and the columns of each episode of some levels."""
        config = self.builder_config
        played = self._players.play(
            levels, config.steps_per_level, config.one_episode, config.hold
        )
        policy = "uniform_random" if config.hold == 1 else f"held_{config.hold}"
        for episodes in played:
            for episode in episodes:
                yield (
                    f"{episode.level_seed}_{episode.index}",
                    _to_columns(episode, policy),
                )


def _to_columns(
    episode: rollouts.Episode, policy: str
) -> dict[str, np.ndarray | list[bytes]]:
    num_steps = len(episode.actions)
    position = np.arange(num_steps)
    is_last = position == num_steps - 1
    is_terminal = is_last & episode.is_terminal
    return {
        "steps/observation": episode.frames,
        "steps/action": episode.actions,
        "steps/reward": episode.rewards,
        "steps/discount": 1 - is_terminal.astype(np.float32),
        "steps/is_first": position == 0,
        "steps/is_last": is_last,
        "steps/is_terminal": is_terminal,
        "episode_metadata/level_seed": np.array([episode.level_seed]),
        "episode_metadata/policy": [policy.encode()],
        "episode_metadata/theme": np.array([episode.theme]),
    }
