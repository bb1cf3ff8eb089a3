"""Measure what training an agent costs: the game, choosing actions and learning.

python benchmarks/agent_training.py --config=coinrun_agent:full

Plays short rollouts and learns from one batch of the config's size. Prints CPU
milliseconds per frame, which other work on the machine hardly changes, and what follows
for the frames per second of free cores. Each frame is learned from in every epoch.
"""

import os
import time

from absl import flags

from genie_tf.experiments import cli
from genie_tf.experiments.cli.config_files import load_config

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("config", "coinrun_agent:full", "Config of an agent.")
    flags.DEFINE_integer("steps", 8, "Steps of each game in a rollout.", lower_bound=1)
    flags.DEFINE_integer("repeats", 2, "Number of measurements; the fastest counts.")


def main() -> None:
    cli.import_keras()
    import numpy as np

    from genie_tf.training.build import make_engine
    from genie_tf.training.procgen_games import ProcgenGames
    from genie_tf.training.rollouts import Rollouts, RolloutSettings

    config = load_config(FLAGS.config)
    engine = make_engine(config)
    agent, num_games = engine.model.agent, config.games.num_games
    games = ProcgenGames(agent.game, action_names=agent.action_names, **config.games)
    settings = RolloutSettings(FLAGS.steps, epochs=1, minibatches=1)
    batches = Rollouts(agent, games, settings).batches()
    size = num_games * config.rollouts.length // config.rollouts.minibatches
    batch = next(batches)
    batch = {name: np.resize(x, (size, *x.shape[1:])) for name, x in batch.items()}

    def act():
        for _ in range(FLAGS.steps):
            agent.predict_on_batch(batch["frames"][:num_games])

    def play():
        for _ in range(FLAGS.steps):
            games.act(np.zeros(num_games, np.int32))
            games.observe()

    def learn():
        metrics = engine.train_steps([batch])
        float(np.asarray(metrics["loss"])[0])

    played = FLAGS.steps * num_games
    costs = {
        "game": _measure(play) / played,
        "actions": _measure(act) / played,
        "learning": _measure(learn) / size * config.rollouts.epochs,
    }
    total = sum(costs.values())
    for name, seconds in costs.items():
        print(f"{name}: {1e3 * seconds:.2f} CPU ms per frame, {seconds / total:.1%}")
    cores = len(os.sched_getaffinity(0))
    print(
        f"{cores} free cores: {cores / total:.0f} frames per second, "
        f"{config.frames * total / cores / 60:.0f} minutes for {config.frames:,} frames."
    )


def _measure(function) -> float:
    """Return the least CPU seconds of a call, after one to compile."""
    function()
    seconds = []
    for _ in range(FLAGS.repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    cli.run(main, define_flags)
