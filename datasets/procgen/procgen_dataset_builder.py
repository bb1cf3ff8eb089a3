"""Procgen games as TFDS datasets of RLDS episodes."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from genie_tf.datasets.checks import check_least
from genie_tf.datasets.procgen.configs import CONFIGS, explain_missing
from genie_tf.datasets.procgen.environment import (
    FRAME_SHAPE,
    GAMES,
    check_game,
    select_actions,
)
from genie_tf.datasets.procgen.levels import Episode, Settings, divide_levels
from genie_tf.datasets.procgen.players import Players, count_workers
from genie_tf.datasets.procgen.policies import make_policy
from genie_tf.datasets.procgen.preset_policy import find_agent
from genie_tf.datasets.resumable_builder import ResumableBuilder
from genie_tf.datasets.rlds_features import (
    action_feature,
    action_metadata,
    flag_columns,
    frame_feature,
)

# A shard takes up to 50 MB. A killed worker loses only seconds of work.
_STEPS_PER_SHARD = 25_000


@dataclasses.dataclass(eq=False, kw_only=True)
class ProcgenConfig(tfds.core.BuilderConfig):
    """Levels of a game that each split plays, and how.

    Attributes:
        game: name of one of the 16 games.
        mode: easy or hard, or another mode of the game.
        levels: level seeds of each split, or "0:500" for 0 to 499; no two splits share
            a level.
        steps_per_level: number of actions in each level.
        one_episode: whether play stops at the end of a level's first episode.
        policy: random, held, or your own module:factory.
        policy_arguments: arguments of its factory, in addition to the game.
        levels_at_once: number of levels played in lockstep; see `Policy`.
        actions: names of the actions that the policy chooses from; () for all 15.
        paint_velocity: see `make_environment`.
        solved: "ignored", "stored" or "required"; see `Settings`.

    Raises:
        ValueError: if the game, mode, policy or an action does not exist, if a split has
            no levels, if splits share a level, if there are no steps, or if `solved` is
            another text.
    """

    game: str
    mode: str = "hard"
    levels: Mapping[str, Sequence[int] | str]
    steps_per_level: int
    one_episode: bool = False
    policy: str = "random"
    policy_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    levels_at_once: int = 1
    actions: Sequence[str] = ()
    paint_velocity: bool = False
    solved: str = "ignored"

    def __post_init__(self):
        check_game(self.game, self.mode)
        select_actions(self.game, self.actions)
        self.levels = {
            split: _parse_levels(split, levels) for split, levels in self.levels.items()
        }
        if _any_shared(list(self.levels.values())):
            raise ValueError(f"A level is played twice in config {self.name!r}.")
        check_least(
            steps_per_level=(self.steps_per_level, 1),
            levels_at_once=(self.levels_at_once, 1),
        )
        if self.solved not in ("ignored", "stored", "required"):
            raise ValueError(
                f"solved must be ignored, stored or required; received {self.solved!r}."
            )
        if ":" not in self.policy:  # Others are created only in player processes.
            make_policy(self.policy, self.game, self.policy_arguments)

    @property
    def settings(self) -> Settings:
        """Settings of the players."""
        return Settings(
            self.game,
            self.mode,
            self.steps_per_level,
            self.one_episode,
            self.policy,
            self.policy_arguments,
            self.levels_at_once,
            self.actions,
            self.paint_velocity,
            self.solved,
        )

    @classmethod
    def make_all(cls, dataset: str) -> list["ProcgenConfig"]:
        """Return the configs of a dataset; see `configs.CONFIGS`."""
        fields = {field.name for field in dataclasses.fields(cls) if field.init}
        configs = []
        for name, (description, splits, settings) in CONFIGS[dataset].items():
            known = {k: v for k, v in settings._asdict().items() if k in fields}
            known |= {"name": name, "description": description, "levels": splits}
            configs.append(cls(**known))
        return configs


def _parse_levels(split: str, levels: Sequence[int] | str) -> Sequence[int]:
    """Return the level seeds of a split of a config."""
    if isinstance(levels, str):
        ends = re.fullmatch(r"(\d+):(\d+)", levels)
        seeds = range(*map(int, ends.groups())) if ends else ()
    else:
        seeds = levels
    if not seeds:
        raise ValueError(
            f"The levels of split {split!r} must be a list or FIRST:END, such as "
            f"'0:500'; received {levels!r}."
        )
    return seeds


def _any_shared(splits: Sequence[Sequence[int]]) -> bool:
    """Return whether a level occurs twice, in one split or in two."""
    if all(isinstance(levels, range) and levels.step == 1 for levels in splits):
        # The fast path: named configs have many levels.
        in_order = sorted(splits, key=lambda levels: levels.start)
        return any(a.stop > b.start for a, b in zip(in_order, in_order[1:]))
    seeds = [seed for levels in splits for seed in levels]
    return len(set(seeds)) < len(seeds)


class Builder(ResumableBuilder):
    """Builder that plays a game; nothing is downloaded.

    Shards are made in parallel, by default one per core; the environment variable
    PROCGEN_WORKERS sets another number. If a build is stopped, the next one resumes it.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = ProcgenConfig.make_all("procgen")
    # TFDS would look in genie_tf/, which lacks this folder in an editable install.
    pkg_dir_path = epath.Path(__file__).parent

    def __init__(self, *, config: str | ProcgenConfig | None = None, **kwargs):
        if isinstance(config, str) and config not in self.builder_configs:
            raise ValueError(
                f"There is no dataset '{self.name}/{config}': "
                f"{self.explain_missing(config)}."
            )
        super().__init__(config=config, **kwargs)

    @classmethod
    def explain_missing(cls, config: str) -> str:
        """Return why a config does not exist, as part of a sentence."""
        return explain_missing(cls.name, config)

    def _info(self) -> tfds.core.DatasetInfo:
        game = GAMES[self.builder_config.game]
        actions = select_actions(self.builder_config.game, self.builder_config.actions)
        step = {
            "observation": frame_feature(FRAME_SHAPE, "What the agent sees."),
            "action": action_feature(
                actions,
                f"What it does next, 0..{len(actions.names) - 1}: keys held down.",
            ),
            "reward": tfds.features.Scalar(np.float32, doc="What that brings."),
            "discount": tfds.features.Scalar(
                np.float32, doc="0 if the action ends the episode, otherwise 1."
            ),
            "is_first": np.bool_,
            "is_last": np.bool_,
            "is_terminal": np.bool_,
        }
        numbers = {
            name: tfds.features.Scalar(np.int32, doc=number.doc)
            for name, number in game.level_numbers.items()
        }
        if self.builder_config.solved != "ignored":
            numbers["solved"] = tfds.features.Scalar(
                np.int32, doc="1 if the episode ends by success, otherwise 0."
            )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "steps": tfds.features.Dataset(step),
                    "episode_metadata": {
                        "level_seed": tfds.features.Scalar(np.int32),
                        "policy": tfds.features.Text(),
                        **numbers,
                    },
                }
            ),
            homepage="https://github.com/openai/procgen",
            metadata=tfds.core.MetadataDict(action_metadata(actions)),
        )

    def _settings(self) -> str:
        config = self.builder_config
        return repr((str(self.version), config.levels, self._played))

    def _num_workers(self) -> int:
        return count_workers(self.name)

    def cancel(self) -> None:
        """Stop all work in progress."""
        super().cancel()
        self._players.end()

    def _download_and_prepare(self, *args, **kwargs) -> None:
        self._played = find_agent(self.name, self.builder_config.settings)
        if self._played.policy == "agent":
            self.info.metadata["agent"] = self._played.policy_arguments["digest"]
        with Players() as self._players:
            super()._download_and_prepare(*args, **kwargs)

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator]]]:
        return {
            split: [
                functools.partial(self._play, parts)
                for parts in self._divide(all_levels)
            ]
            for split, all_levels in self.builder_config.levels.items()
        }

    def _divide(self, levels: Sequence[int]) -> list[list[Sequence[int]]]:
        """Return, for each shard of a split, groups of levels played in lockstep."""
        settings = self.builder_config.settings
        parts = divide_levels(settings, levels)
        steps = settings.steps_per_level * settings.levels_at_once
        size = max(1, _STEPS_PER_SHARD // steps)
        return [parts[first : first + size] for first in range(0, len(parts), size)]

    def _play(self, parts: Sequence[Sequence[int]]) -> Iterator[tuple[str, dict]]:
        """Yield the key and columns of each episode of some levels."""
        is_stored = self._played.solved != "ignored"
        for levels in self._players.play(self._played, parts):
            for episode in (episode for level in levels for episode in level):
                columns = _to_columns(episode)
                if is_stored:
                    solved = np.array([episode.is_solved])
                    columns["episode_metadata/solved"] = solved
                yield f"{episode.level_seed}_{episode.index}", columns


def _to_columns(episode: Episode) -> dict[str, np.ndarray | list[bytes]]:
    flags = flag_columns(len(episode.actions))
    is_terminal = flags["steps/is_last"] & episode.is_terminal
    return {
        "steps/observation": episode.frames,
        "steps/action": episode.actions,
        "steps/reward": episode.rewards,
        "steps/discount": 1 - is_terminal.astype(np.float32),
        "steps/is_terminal": is_terminal,
        **flags,
        "episode_metadata/level_seed": np.array([episode.level_seed]),
        "episode_metadata/policy": [episode.policy.encode()],
        **{
            f"episode_metadata/{name}": np.array([number])
            for name, number in episode.level_numbers.items()
        },
    }
