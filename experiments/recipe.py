"""Make a playable world of CoinRun with one command, on a CPU or a GPU.

genie-recipe --size=tiny --workdir=runs/coinrun
genie-recipe --size=large --minutes=13 --precision=mixed_bfloat16 --workdir=runs/coinrun

Plays the levels, and trains a tokenizer of changes, a latent action model and the
dynamics. With --minutes, each stage takes as many steps as fit, at least 50, from a
measurement of its speed. The trained world is the folder WORKDIR/genie/model. If it is killed, rerun the
same command: finished stages are kept, and the others resume. It needs neither TensorFlow
nor TFDS if KERAS_BACKEND=jax.
"""

import json
import shutil
import time
from pathlib import Path

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import local_path, write_file

FLAGS = flags.FLAGS

_DATASET = "coinrun/mixed_hard"
# Size of each stage's config.
_SIZES = {
    "tiny": {"tokenizer": "tiny", "actions": "tiny", "genie": "tiny"},
    "fast": {"tokenizer": "fast", "actions": "fast", "genie": "fast"},
    "full": {"tokenizer": "full", "actions": "fast", "genie": "full"},
    "large": {"tokenizer": "large", "actions": "fast", "genie": "large"},
}
_CONFIGS = {
    "tokenizer": "coinrun_delta_tokenizer",
    "actions": "coinrun_lam",
    "genie": "coinrun_delta_genie",
}
# Share of the time left that a stage takes; a tenth is for saving.
_SHARES = {"tokenizer": 0.35, "actions": 0.15, "genie": 0.9}
_PROBE_STEPS = 30
_LEAST_STEPS = 50


def define_flags() -> None:
    cli.define_path("workdir", None, "Output folder.")
    flags.DEFINE_enum("size", "full", _SIZES, "Size of the models.")
    flags.DEFINE_float(
        "minutes",
        None,
        "Time for everything, data included. By default, stages take the steps of their "
        "configs.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "mixed_bfloat16"],
        "Precision of training.",
    )


def main() -> None:
    start = time.perf_counter()
    with cli.user_errors():
        folder = cli.make_folder(local_path(FLAGS.workdir))
        recipe = _read_recipe(folder / "recipe.json")
    if not (folder / "data").exists():
        cli.run_module(
            "genie_tf.experiments.arrays",
            f"--dataset={_DATASET}",
            f"--output={folder / 'data'}",
        )
    for stage, size in _SIZES[FLAGS.size].items():
        if (folder / stage / "model").exists():
            continue
        arguments = [
            f"--config={_CONFIGS[stage]}:{size}",
            f"--config.dataset={folder / 'data'}",
            f"--config.precision={FLAGS.precision}",
        ]
        if stage == "genie":
            arguments += [
                f"--config.tokenizer={folder / 'tokenizer' / 'model'}",
                f"--config.action_model={folder / 'actions' / 'model'}",
            ]
        if FLAGS.minutes:
            left = 60 * FLAGS.minutes - (time.perf_counter() - start)
            # A resumed stage takes the same number of steps.
            if stage not in recipe["steps"]:
                seconds = _SHARES[stage] * left
                recipe["steps"][stage] = _choose_steps(folder, seconds, arguments)
                write_file(folder / "recipe.json", json.dumps(recipe).encode())
            arguments.append(f"--config.steps={recipe['steps'][stage]}")
        cli.run_module(
            "genie_tf.experiments.train", *arguments, f"--workdir={folder / stage}"
        )
    minutes = (time.perf_counter() - start) / 60
    print(f"{minutes:.1f} minutes. Play {folder}/genie/model in the browser with:")
    print(f"  genie-play --preset={folder}/genie/model")


def _read_recipe(path: Path) -> dict:
    """Return the settings and steps of the stages in a folder, recorded in a file.

    Raises:
        ValueError: if the folder was made with other settings.
    """
    settings = {"size": FLAGS.size, "precision": FLAGS.precision}
    if not path.exists():
        recipe = {**settings, "steps": {}}
        write_file(path, json.dumps(recipe).encode())
        return recipe
    recipe = json.loads(path.read_text())
    if any(recipe[name] != value for name, value in settings.items()):
        raise ValueError(
            f"{path.parent} was made with --size={recipe['size']} "
            f"--precision={recipe['precision']}: pass these, or another --workdir."
        )
    return recipe


def _choose_steps(folder: Path, seconds: float, arguments: list) -> int:
    """Return the number of steps of a stage that fit into some seconds."""
    start = time.perf_counter()
    probe = folder / "probe"
    shutil.rmtree(probe, ignore_errors=True)
    cli.run_module(
        "genie_tf.experiments.train",
        *arguments,
        f"--config.steps={_PROBE_STEPS}",
        "--config.log_every=10",
        f"--workdir={probe}",
    )
    *_, last = (probe / "metrics.jsonl").open()
    speed = json.loads(last)["steps_per_second"]
    shutil.rmtree(probe)
    # The stage compiles its programs as the probe did.
    probed = time.perf_counter() - start
    left = seconds - 2 * probed + _PROBE_STEPS / speed
    return max(_LEAST_STEPS, int(left * speed))


def run() -> None:
    cli.run(main, define_flags, required=["workdir"])


if __name__ == "__main__":
    run()
