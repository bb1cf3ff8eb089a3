"""Writes a dataset as plain arrays, to be read without TFDS and TensorFlow.

genie-arrays --dataset=coinrun/random_hard_small --output=data/coinrun_small
genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok \
    --config.dataset=data/coinrun_small

CoinRun and the other games of Procgen are played on the spot, for which neither is needed;
other datasets are those of TFDS that consist of RLDS episodes.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import check_new

if TYPE_CHECKING:
    from genie_tf.datasets.actions import Actions

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("dataset", None, "TFDS name and config of the dataset.")
    cli.define_path("output", None, "Folder to write; must not exist yet.")
    flags.DEFINE_string("camera", None, "Which of several cameras are the frames.")
    cli.define_path("data_dir", None, "Where TFDS keeps its datasets.")


def main() -> None:
    from genie_tf.datasets.array_episodes import write_arrays
    from genie_tf.datasets.procgen.configs import CONFIGS

    name, _, config = FLAGS.dataset.partition("/")
    with cli.user_errors():
        check_new(cli.check_folder(FLAGS.output))
        if config in CONFIGS.get(name, {}):
            splits, actions = _played(name, config)
        else:
            splits, actions = _stored(FLAGS.dataset, FLAGS.data_dir, FLAGS.camera)
        try:
            write_arrays(FLAGS.output, splits, actions)
        finally:  # The progress bar ends before an error is told.
            for episodes in splits.values():
                episodes.close()


def _played(dataset: str, config: str) -> tuple[dict[str, Generator], "Actions"]:
    """Episodes of levels of a game and their actions, as `write_arrays` takes them."""
    from tqdm import tqdm

    from genie_tf.datasets.procgen.configs import CONFIGS
    from genie_tf.datasets.procgen.environment import GAMES
    from genie_tf.datasets.procgen.players import count_workers, play_in_processes

    levels = CONFIGS[dataset][config]
    num_workers = count_workers(dataset)

    def play(split, seeds):
        played = play_in_processes(levels.settings, seeds, num_workers)
        for episodes in tqdm(played, split, len(seeds), unit="level"):
            for episode in episodes:
                yield episode.pixels(), episode.actions

    splits = {split: play(split, seeds) for split, seeds in levels.splits.items()}
    return splits, GAMES[levels.settings.game].actions


def _stored(
    dataset: str, data_dir: str | None, camera: str | None
) -> tuple[dict[str, Generator], "Actions | None"]:
    """Episodes of a dataset of TFDS and their actions, as `write_arrays` takes them."""
    from tqdm import tqdm

    from genie_tf.datasets.episodes import open_episodes, split_names

    def read(episodes, split):
        for i in tqdm(range(len(episodes.lengths)), split, unit="episode"):
            yield episodes.read_episode(i)

    names = split_names(dataset, data_dir)
    opened = {split: open_episodes(dataset, split, data_dir, camera) for split in names}
    splits = {split: read(episodes, split) for split, episodes in opened.items()}
    return splits, opened[names[0]].actions


def run() -> None:
    cli.run(main, define_flags, required=["dataset", "output"])


if __name__ == "__main__":
    run()
