"""Write a dataset as plain arrays, which are read without TFDS and TensorFlow.

genie-arrays --dataset=coinrun/random_hard_small --output=data/coinrun_small
genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tok \
    --config.dataset=data/coinrun_small

The output folder holds one folder per split. CoinRun and the other Procgen games are
played on the spot, which needs neither TFDS nor TensorFlow. Any other dataset must be a
TFDS dataset of RLDS episodes.
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
    cli.define_path("dataset", None, "TFDS name, such as coinrun/random_hard.")
    cli.define_path("output", None, "Output folder; must not exist yet.")
    flags.DEFINE_string("camera", None, "Observation that holds the frames.")
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")


def main() -> None:
    from genie_tf.datasets.array_episodes import write_arrays
    from genie_tf.datasets.procgen.configs import CONFIGS

    name, _, config = FLAGS.dataset.partition("/")
    with cli.user_errors():
        check_new(cli.check_folder(FLAGS.output))
        if config in CONFIGS.get(name, {}):
            splits, actions = _play_game(name, config)
        else:
            splits, actions = _open_stored(FLAGS.dataset, FLAGS.data_dir, FLAGS.camera)
        try:
            write_arrays(FLAGS.output, splits, actions)
        finally:  # End the progress bar before an error is printed.
            for episodes in splits.values():
                episodes.close()


def _play_game(dataset: str, config: str) -> tuple[dict[str, Generator], "Actions"]:
    """Return episodes played now, by split, and their actions, for `write_arrays`."""
    from tqdm import tqdm

    from genie_tf.datasets.procgen.configs import CONFIGS
    from genie_tf.datasets.procgen.environment import GAMES
    from genie_tf.datasets.procgen.players import count_workers, play_in_processes
    from genie_tf.datasets.procgen.preset_policy import find_agent

    levels = CONFIGS[dataset][config]
    settings = find_agent(dataset, levels.settings)
    num_workers = count_workers(dataset)

    def play(split, seeds):
        played = play_in_processes(settings, seeds, num_workers)
        for episodes in tqdm(played, split, len(seeds), unit="level"):
            for episode in episodes:
                yield episode.pixels(), episode.actions

    splits = {split: play(split, seeds) for split, seeds in levels.splits.items()}
    return splits, GAMES[settings.game].actions


def _open_stored(
    dataset: str, data_dir: str | None, camera: str | None
) -> tuple[dict[str, Generator], "Actions | None"]:
    """Return stored episodes, by split, and their actions, for `write_arrays`."""
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
