"""CoinRun as a TFDS dataset of RLDS episodes."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

# Relative, because `tfds build datasets/coinrun` imports this folder as `coinrun`.
from . import rollouts


@dataclasses.dataclass(eq=False, kw_only=True)
class CoinRunConfig(tfds.core.BuilderConfig):
    """Which levels each split plays, and for how long.

    Attributes:
        levels: the level seeds of each split; no two splits share one.
        steps_per_level: how many actions are taken in each level.
    """

    levels: Mapping[str, range]
    steps_per_level: int


class _EncodedSteps(tfds.features.Dataset):
    """A stock Dataset feature that is given whole columns of encoded values.

    The stock one takes a dictionary for each step and encodes its values one by one,
    which takes longer than playing the game. On disk there is no difference, and
    `features.json` names the stock feature, so no one needs this class to read.
    """

    def encode_example(self, columns):
        return columns

    def to_proto(self):
        return tfds.features.Dataset(self.feature).to_proto()


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds CoinRun by playing it: nothing is downloaded."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        CoinRunConfig(
            name=name,
            description=levels.description,
            levels=levels.splits,
            steps_per_level=levels.steps_per_level,
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
                    "steps": _EncodedSteps(step),
                    "episode_metadata": {
                        "level_seed": tfds.features.Scalar(np.int32),
                        "policy": tfds.features.Text(),
                    },
                }
            ),
            homepage="https://github.com/openai/procgen",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {
            split: self._generate_examples(split, levels)
            for split, levels in self.builder_config.levels.items()
        }

    def _generate_examples(
        self, split: str, levels: range
    ) -> Iterator[tuple[str, dict]]:
        played = rollouts.play_levels(levels, self.builder_config.steps_per_level)
        # TFDS counts episodes, whose number is known only at the end; levels show how
        # far it has come.
        for episodes in tfds.core.utils.tqdm(
            played,
            desc=f"Playing {split} levels...",
            unit=" levels",
            total=len(levels),
            leave=False,
            mininterval=1.0,
        ):
            for episode in episodes:
                yield f"{episode.level_seed}_{episode.index}", _to_example(episode)


def _to_example(episode: rollouts.Episode) -> dict:
    num_steps = len(episode.actions)
    position = np.arange(num_steps)
    is_last = position == num_steps - 1
    is_terminal = is_last & episode.is_terminal
    return {
        "steps": {
            "observation": episode.frames,
            "action": episode.actions,
            "reward": episode.rewards,
            "discount": 1 - is_terminal.astype(np.float32),
            "is_first": position == 0,
            "is_last": is_last,
            "is_terminal": is_terminal,
        },
        "episode_metadata": {
            "level_seed": episode.level_seed,
            "policy": "uniform_random",
        },
    }
