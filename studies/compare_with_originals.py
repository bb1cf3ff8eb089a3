"""Compare converted models with the authors' code: the table of docs/originals.md.

python studies/compare_with_originals.py --jafar=~/jafar --genieredux=~/GenieRedux \
    --python=~/originals/bin/python --output=runs/originals
python studies/compare_with_originals.py --jasmine=~/jasmine \
    --python=~/jasmine_env/bin/python --output=runs/originals

The authors' code runs from clones that you have (GenieRedux's for CoinRun is on its `neurips`
branch), in the Python environment --python: it makes small models with weights from a seed,
and records what they compute. The checkpoints are then converted, and compared.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import local_path

FLAGS = flags.FLAGS

_RUNNERS = Path(__file__).parent / "originals"
_SOURCES = ("jafar", "jasmine", "genieredux")
# Worlds by source: the checkpoint, the record, and the tokenizer's checkpoint if apart.
_WORLDS = {
    "jafar": [("Jafar", "genie", "genie.npz", None)],
    "jasmine": [
        ("Jasmine", "genie", "genie.npz", None),
        ("Jasmine, true actions", "guided", "guided.npz", None),
    ],
    "genieredux": [
        ("GenieRedux", "main.pt", "main.npz", "tokenizer.pt"),
        ("GenieRedux-G", "guided.pt", "guided.npz", "tokenizer.pt"),
    ],
}
_COLUMNS = ("tokens", "reconstruction", "actions", "prediction", "logits", "rollout")


def define_flags():
    for source in _SOURCES:
        flags.DEFINE_string(source, None, f"Clone of the code of {source}.")
    flags.DEFINE_string("python", sys.executable, "Python that can run that code.")
    flags.DEFINE_string("output", None, "Folder for weights, inputs and outputs.")
    flags.DEFINE_integer("seed", 0, "Seed of the weights and inputs.")


def main():
    from genie_tf.convert import CONVERTERS, read_checkpoint
    from genie_tf.convert.comparison import compare_world

    print(f"| | {' | '.join(_COLUMNS)} |\n|{'---|' * (1 + len(_COLUMNS))}")
    for source in filter(lambda name: FLAGS[name].value, _SOURCES):
        folder = local_path(FLAGS.output) / source
        with cli.user_errors():
            run_original(source, FLAGS[source].value, folder)
        for name, checkpoint, record, tokenizer in _WORLDS[source]:
            recorded = np.load(folder / record)
            size = {"frame_shape": recorded["video"].shape[2:]}
            convert = CONVERTERS[source]
            with cli.user_errors():
                if tokenizer:
                    arrays = read_checkpoint(folder / tokenizer)
                    size["tokenizer"] = convert(arrays, **size)
                world = convert(read_checkpoint(folder / checkpoint), **size)
            found = compare_world(world, recorded, reencodes=source == "jafar")
            cells = [f"{found[x]:.2g}" if x in found else "" for x in _COLUMNS]
            print(f"| {name} | {' | '.join(cells)} |")


def run_original(source: str, code: str, folder: Path) -> None:
    """Run the authors' code.

    Raises:
        ValueError: if it fails.
    """
    ended = subprocess.run(
        [
            FLAGS.python,
            _RUNNERS / f"{source}.py",
            f"--code={code}",
            f"--output={folder}",
            f"--seed={FLAGS.seed}",
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            # Compiles small models several times faster.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
    )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"The code in {code} failed: {last}")


if __name__ == "__main__":
    cli.run(main, define_flags, required=["output"])
