"""Measure the overhead of training: making batches and writing checkpoints.

python benchmarks/overheads.py --config=coinrun_tokenizer:tiny

Prints the CPU time per batch next to the time per step, and how much longer steps take
while checkpoints are written as often as the config says. Steps with and without a
checkpoint take turns, so that other load on the machine affects both equally.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path

from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags():
    cli.define_config(
        "config",
        "NAME:SIZE of a config of genie_tf, or FILE.py:SIZE of your own.",
    )
    flags.DEFINE_string("data_dir", None, "Folder of the TFDS datasets.")
    flags.DEFINE_integer("rounds", 5, "Turns with and without a checkpoint.")
    flags.DEFINE_integer("steps", 20, "Steps per turn; the first writes a checkpoint.")
    flags.DEFINE_integer("batches", 50, "Batches to make without training.")


def main():
    from genie_tf.datasets.clips import ClipDataset
    from genie_tf.datasets.episodes import open_episodes
    from genie_tf.training.build import make_engine
    from genie_tf.training.checkpoints import Checkpoints

    config = FLAGS.config
    with cli.user_errors():
        engine = make_engine(config)
        episodes = open_episodes(config.dataset, "train", FLAGS.data_dir)
        batches = ClipDataset(episodes, config.clip_length).batches(
            config.batch_size, config.seed, transforms=[engine.model.training_inputs]
        )
    next(batches)
    cpu_start = time.process_time()
    training_batches = list(itertools.islice(batches, FLAGS.batches))
    host = (time.process_time() - cpu_start) / FLAGS.batches
    batches.close()

    def measure_turn(checkpoints):
        """Return the seconds until all steps are done and the checkpoint is written."""
        start = time.perf_counter()
        for step in range(FLAGS.steps):
            batch = training_batches[step % len(training_batches)]
            metrics = engine.train_steps([batch])
            if checkpoints and step == 0:
                checkpoints.save(FLAGS.steps, engine.model, engine.optimizer)
        float(metrics["loss"][0])
        if checkpoints:
            checkpoints.wait()
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        measure_turn(None)
        rounds = [
            (measure_turn(None), measure_turn(checkpoints)) for _ in range(FLAGS.rounds)
        ]
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.npz"))
    step = statistics.median(without for without, _ in rounds) / FLAGS.steps
    save = statistics.median(each - without for without, each in rounds)
    every = config.checkpoint_every
    print(f"step: {step:.3f} s")
    print(f"batch: {host * 1e3:.1f} ms of CPU time, {host / step:.1%} of a step")
    print(
        f"checkpoint of {size / 1e6:.0f} MB: {save:.2f} s, "
        f"{save / (every * step):.2%} of the {every} steps between checkpoints"
    )


if __name__ == "__main__":
    cli.run(main, define_flags, required=["config"])
