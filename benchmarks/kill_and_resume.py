"""Compare training runs killed at random moments with an uninterrupted one.

python benchmarks/kill_and_resume.py --kills=20

Trains a small tokenizer for 40 steps on coinrun/random_hard_small. Then, for each kill,
starts a new run, sends SIGKILL at a random moment between its first step and its end, and
reruns the same command. Prints how many of these runs have bitwise the same metrics and
weights as the uninterrupted one; exits with 1 unless all do.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

CONFIG = Path(__file__).parents[1] / "experiments" / "configs" / "coinrun_tokenizer.py"
SETTINGS = {
    "steps": 40,
    "log_every": 3,
    "checkpoint_every": 4,
    "evaluate_every": 20,
    "validation_clips": 8,
    "model.encoder.num_blocks": 1,
    "model.encoder.dim": 64,
    "model.decoder.num_blocks": 1,
    "model.decoder.dim": 64,
    "schedule.warmup_steps": 5,
    "schedule.decay_steps": 20,
    "optimizer.ema": 0.9,
}


def start(workdir: Path) -> subprocess.Popen:
    settings = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
    command = ["-m", "genie_tf.experiments.train", f"--config={CONFIG}:tiny"]
    return subprocess.Popen(
        [sys.executable, *command, f"--workdir={workdir}", *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(workdir: Path) -> float:
    """Train to the end; return the seconds since the first step."""
    program, first = start(workdir), None
    # The progress bar ends its lines with carriage returns, which text mode splits at.
    for line in program.stderr:
        if first is None and re.search(r" [1-9]\d*/40 ", line):
            first = time.monotonic()
    if program.wait():
        sys.exit(f"The training run in {workdir} failed.")
    return time.monotonic() - first if first else 0.0


def kill(workdir: Path, after: float) -> None:
    """Train, and kill the run `after` seconds after its first step."""
    program = start(workdir)
    for line in program.stderr:
        if re.search(r" [1-9]\d*/40 ", line):
            break
    try:
        program.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()


def result(workdir: Path):
    """Return metrics, without those that depend on the clock, and weights."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    for record in records:
        del record["steps_per_second"]
    weights = {}
    with h5py.File(workdir / "model" / "tokenizer.weights.h5") as file:
        file.visititems(
            lambda name, x: (
                weights.update({name: x[()]}) if isinstance(x, h5py.Dataset) else None
            )
        )
    return records, weights


def equal(one, other) -> bool:
    return (
        one[0] == other[0]
        and one[1].keys() == other[1].keys()
        and all(np.array_equal(x, other[1][name]) for name, x in one[1].items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    moments, same = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted = Path(folder) / "uninterrupted"
        seconds = finish(uninterrupted)
        expected = result(uninterrupted)
        for number in range(kills):
            workdir = Path(folder) / str(number)
            after = moments.uniform(0, seconds)
            kill(workdir, after)
            checkpoints = sorted((workdir / "checkpoints").glob("step_*"))
            finish(workdir)
            is_same = equal(result(workdir), expected)
            same += is_same
            latest = checkpoints[-1].name if checkpoints else "no checkpoint"
            print(
                f"killed {after:.2f} s after the first step, at {latest}: "
                f"{'identical' if is_same else 'DIFFERENT'}",
                flush=True,
            )
    print(f"{same} of {kills} are bitwise identical.")
    sys.exit(same != kills)


if __name__ == "__main__":
    main()
