"""Writes a dataset as plain arrays, to be read without TFDS and TensorFlow.

genie-arrays --dataset=coinrun/random_hard_small --output=data/coinrun_small
genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok \
    --config.dataset=data/coinrun_small

CoinRun is played on the spot, for which neither is needed; other datasets are those of
TFDS that consist of RLDS episodes.
"""

from collections.abc import Generator

from absl import flags
from genie_tf.experiments import cli

from genie_tf.files import check_new

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("dataset", None, "TFDS name and config of the dataset.")
    cli.define_path("output", None, "Folder to write; must not exist yet.")
    flags.DEFINE_string("camera", None, "Which of several cameras are the frames.")
    cli.define_path("data_dir", None, "Where TFDS keeps its datasets.")


def main() -> None:
    from genie_tf.datasets.array_episodes import write_arrays
    from genie_tf.datasets.coinrun import rollouts

    name, _, config = FLAGS.dataset.partition("/")
    with cli.user_errors():
        check_new(cli.check_folder(FLAGS.output))
        if name == "coinrun" and config in rollouts.DATASETS:
            splits = _played(rollouts.DATASETS[config])
        else:
            splits = _stored(FLAGS.dataset, FLAGS.data_dir, FLAGS.camera)
        try:
            write_arrays(FLAGS.output, splits)
        finally:  # The progress bar ends before an error is told.
            for episodes in splits.values():
                episodes.close()


def _played(levels) -> dict[str, Generator]:
    """Episodes of CoinRun levels, as `write_arrays` takes them."""
    from genie_tf.datasets.coinrun.rollouts import play_levels
    from tqdm import tqdm

    def play(split, seeds):
        played = play_levels(
            seeds, levels.steps_per_level, levels.one_episode, levels.hold
        )
        for episodes in tqdm(played, split, len(seeds), unit="level"):
            for episode in episodes:
                yield episode.pixels(), episode.actions

    return {split: play(split, seeds) for split, seeds in levels.splits.items()}


def _stored(
    dataset: str, data_dir: str | None, camera: str | None
) -> dict[str, Generator]:
    """Episodes of a dataset of TFDS, as `write_arrays` takes them."""
    from genie_tf.datasets.episodes import open_episodes, split_names
    from tqdm import tqdm

    def read(split):
        episodes = open_episodes(dataset, split, data_dir, camera)
        for i in tqdm(range(len(episodes.lengths)), split, unit="episode"):
            yield episodes.read_episode(i)

    return {split: read(split) for split in split_names(dataset, data_dir)}


def run() -> None:
    cli.run(main, define_flags, required=["dataset", "output"])


if __name__ == "__main__":
    run()
