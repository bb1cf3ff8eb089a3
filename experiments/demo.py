"""Play the shipped world, then train and evaluate a small one on CoinRun, on a CPU.

genie-demo --output=runs/demo

Plays 100 frames of the shipped world to preset.gif. Builds the dataset coinrun/random_hard_small, trains the `tiny` tokenizer, latent action
model and dynamics, and evaluates on test levels. The output folder then holds the model
in genie/model, report.md, report.json, curves.png and the images of genie-evaluate.
Each step is a command, which is printed. Every run starts from scratch.
"""

import json
import shutil
import time
from pathlib import Path

from absl import flags

import genie_tf
from genie_tf.experiments import cli
from genie_tf.files import local_path

FLAGS = flags.FLAGS

_DATASET = "coinrun/random_hard_small"
_PRESET = "genie_coinrun_fast"
_PROMPT = Path(genie_tf.__file__).parent / "play" / "prompts" / "jungle.png"
# Actions of the shipped world, ten frames each.
_ACTIONS = 1, 4, 1, 6, 4, 1, 0, 4, 6, 1


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
        "preset": cli.run_module(
            "genie_tf.experiments.generate",
            f"--preset={_PRESET}",
            f"--prompt={_PROMPT}",
            f"--actions={','.join(str(action) for action in _ACTIONS for _ in range(10))}",
            f"--output={folder / 'preset.gif'}",
        ),
        "dataset": _build_dataset(),
        "tokenizer": cli.run_module(
            "genie_tf.experiments.train",
            "--config=coinrun_tokenizer:tiny",
            f"--workdir={tokenizer}",
            *data_dir,
        ),
        "actions": cli.run_module(
            "genie_tf.experiments.train",
            "--config=coinrun_lam:tiny",
            f"--workdir={actions}",
            *data_dir,
        ),
        "genie": cli.run_module(
            "genie_tf.experiments.train",
            "--config=coinrun_genie:tiny",
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
            "--steps=1",
            "--temperature=0",
            "--overwrite",
            f"--output={folder}",
            *data_dir,
        ),
    }
    seconds["total"] = time.perf_counter() - start
    scores = json.loads((folder / "report.json").read_text())
    report.write_report(folder, {**scores, "seconds": seconds})
    media.plot_curves(folder / "curves.png", _read_curves(tokenizer, actions, genie))
    print(f"{seconds['total'] / 60:.1f} minutes. Look at {folder}/preset.gif,")
    print(f"{folder}/rollout.gif and {folder}/report.md; play on with:")
    print(
        f"  genie-generate --preset={genie}/model --prompt={folder}/prompt.png "
        "--actions=0,0,0,1,1,1 --output=mine.gif"
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
        tokenizer: {"psnr": "tokenizer: PSNR", "perplexity": "tokenizer: perplexity"},
        actions: {
            "psnr": "latent actions: PSNR of the next frame",
            "perplexity": "latent actions: perplexity",
        },
        genie: {
            "dynamics/cross_entropy": "dynamics: cross-entropy",
            "dynamics/top1": "dynamics: top-1 accuracy",
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
