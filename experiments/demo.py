"""Play the shipped world, then train and evaluate a small one on CoinRun, on a CPU.

genie-demo --output=runs/demo

Plays 100 frames of the shipped world to preset.gif. Builds the dataset
coinrun/held_hard_small, trains the `tiny` tokenizer, latent action model and dynamics of
a world of changes, evaluates on test levels, and plays the new world to play.gif. The
output folder then holds the model in genie/model, report.md, report.json, curves.png and
the images of genie-evaluate. Each step is a command, which is printed. Every run starts
from scratch.
"""

import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from absl import flags

import genie_tf
from genie_tf.experiments import cli
from genie_tf.files import local_path

FLAGS = flags.FLAGS

_DATASET = "coinrun/held_hard_small"
_PRESET = "genie_coinrun"
_PROMPT = Path(genie_tf.__file__).parent / "play" / "prompts" / "jungle.png"
# Actions of the shipped world, five frames each: right, jump, land, left, stay, hop.
_ACTIONS = 2, 2, 6, 4, 2, 2, 7, 7, 6, 4, 2, 2, 1, 0, 5, 2, 2, 6, 4, 2


def define_flags() -> None:
    cli.define_path("output", "runs/demo", "Output folder.")
    cli.define_path("data_dir", None, "Folder of TFDS datasets.")


def main() -> None:
    cli.import_keras()
    from genie_tf import media
    from genie_tf.evaluation import report

    with cli.user_errors():
        folder = cli.make_folder(local_path(FLAGS.output))
    tokenizer, actions, genie = (folder / x for x in ("tokenizer", "actions", "genie"))
    for workdir in (tokenizer, actions, genie):
        shutil.rmtree(workdir, ignore_errors=True)
    data_dir = [f"--data_dir={FLAGS.data_dir}"] if FLAGS.data_dir else []
    start = time.perf_counter()
    seconds = {
        "preset": _play(_PRESET, _PROMPT, _ACTIONS, folder / "preset.gif"),
        "dataset": _build_dataset(),
        "tokenizer": cli.run_module(
            "genie_tf.experiments.train",
            "--config=coinrun_delta_tokenizer:tiny",
            f"--workdir={tokenizer}",
            *data_dir,
        ),
        "actions": cli.run_module(
            "genie_tf.experiments.train",
            "--config=coinrun_lam:tiny",
            f"--config.dataset={_DATASET}",
            f"--workdir={actions}",
            *data_dir,
        ),
        "genie": cli.run_module(
            "genie_tf.experiments.train",
            "--config=coinrun_delta_genie:tiny",
            f"--workdir={genie}",
            f"--config.tokenizer={tokenizer / 'model'}",
            f"--config.action_model={actions / 'model'}",
            *data_dir,
        ),
        "evaluation": cli.run_module(
            "genie_tf.experiments.evaluate",
            f"--preset={genie / 'model'}",
            f"--dataset={_DATASET}",
            "--clips=128",
            "--overwrite",
            f"--output={folder}",
            *data_dir,
        ),
    }
    seconds["play"] = _play(
        genie / "model", folder / "prompt.png", range(6), folder / "play.gif"
    )
    seconds["total"] = time.perf_counter() - start
    scores = json.loads((folder / "report.json").read_text())
    report.write_report(folder, {**scores, "seconds": seconds})
    media.plot_curves(folder / "curves.png", _read_curves(tokenizer, actions, genie))
    print(f"{seconds['total'] / 60:.1f} minutes. Look at {folder}/preset.gif,")
    print(f"{folder}/play.gif and {folder}/report.md; play on in the browser with:")
    print(f"  genie-play --preset={genie}/model")


def _play(preset, prompt: Path, actions: Iterable[int], output: Path) -> float:
    """Play a world, each action for five frames, and return the seconds this took."""
    return cli.run_module(
        "genie_tf.experiments.generate",
        f"--preset={preset}",
        f"--prompt={prompt}",
        f"--actions={','.join(str(action) for action in actions for _ in range(5))}",
        f"--output={output}",
    )


def _build_dataset() -> float:
    """Build the dataset unless it exists, and return the seconds this took."""
    import tensorflow_datasets as tfds

    import genie_tf.datasets  # noqa: F401  Registers coinrun.

    print(f"$ python -c 'tfds.load({_DATASET!r})'", flush=True)
    start = time.perf_counter()
    tfds.builder(_DATASET, data_dir=FLAGS.data_dir).download_and_prepare()
    return time.perf_counter() - start


def _read_curves(tokenizer: Path, actions: Path, genie: Path) -> list[dict]:
    """Return the records of the three training runs, with a title for each curve."""
    curves = {
        tokenizer: {"psnr": "tokenizer: PSNR", "drawn": "tokenizer: share drawn"},
        actions: {
            "psnr": "latent actions: PSNR of the next frame",
            "perplexity": "latent actions: perplexity",
        },
        genie: {
            "dynamics/shift_nats": "dynamics: nats of a shift",
            "dynamics/code_nats": "dynamics: nats of a drawn patch",
        },
    }
    return [
        {"step": record["step"]}
        | {title: record[name] for name, title in titles.items()}
        for workdir, titles in curves.items()
        for record in map(json.loads, (workdir / "metrics.jsonl").open())
    ]


def run() -> None:
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
