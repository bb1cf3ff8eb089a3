"""Measure how many levels of CoinRun scripted attempts solve, and how fast.

python benchmarks/demonstrations.py --mode=easy

Plays levels in one process as the builder does, without writing files, and checks that
every episode replays exactly in a new game.
"""

import itertools
import time

import numpy as np
from absl import app, flags

from genie_tf.datasets.procgen.configs import CONFIGS
from genie_tf.datasets.procgen.environment import make_environment
from genie_tf.datasets.procgen.levels import play_levels
from genie_tf.datasets.procgen.policies import make_policy

FLAGS = flags.FLAGS

flags.DEFINE_enum("mode", "easy", ["easy", "hard"], "Mode of the game.")
flags.DEFINE_integer("first_level", 20_000, "Seed of the first level.")
flags.DEFINE_integer("levels", 200, "Number of levels.")
flags.DEFINE_integer("attempts", 64, "Attempts at each level.")
flags.DEFINE_float("perturbed", 0.1, "Share of perturbed steps.")


def main(_):
    settings = CONFIGS["coinrun"][f"demonstrations_{FLAGS.mode}"].settings
    arguments = {"attempts": FLAGS.attempts, "perturbed": FLAGS.perturbed}
    policy = make_policy(settings.policy, settings.game, arguments)
    level_seeds = range(FLAGS.first_level, FLAGS.first_level + FLAGS.levels)
    play_levels(settings, [0], policy)  # Imports take time.
    start = time.process_time()
    played = [play_levels(settings, [seed], policy)[0] for seed in level_seeds]
    seconds = (time.process_time() - start) / FLAGS.levels
    episodes = list(itertools.chain(*played))
    lengths = [len(episode.actions) for episode in episodes]
    exact = sum(_replays(settings, episode) for episode in episodes)
    share = len(episodes) / FLAGS.levels
    print(
        f"{FLAGS.mode}: {100 * share:.1f}% of {FLAGS.levels} levels "
        f"solved, {seconds:.2f} CPU s a level; {np.mean(lengths):.0f} steps an "
        f"episode, at most {max(lengths)}; {exact} of {len(episodes)} replay exactly"
    )


def _replays(settings, episode) -> bool:
    """Return whether an episode's actions reproduce its frames and rewards."""
    environment = make_environment(settings.game, settings.mode, episode.level_seed)
    is_equal = True
    for frame, action, expected in zip(
        episode.pixels(), episode.actions, episode.rewards
    ):
        is_equal &= np.array_equal(environment.observe()[1]["rgb"][0], frame)
        environment.act(np.array([action], np.int32))
        is_equal &= environment.observe()[0][0] == expected
    environment.close()
    return bool(is_equal)


if __name__ == "__main__":
    app.run(main)
