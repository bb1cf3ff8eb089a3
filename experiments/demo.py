"""The whole loop on real CoinRun, small, on a CPU: data, training, evaluation.

genie-demo --output=runs/demo

Builds the dataset coinrun/random_hard_small, trains the `tiny` tokenizer, latent action
model and dynamics, evaluates on test levels, and leaves in the output folder: the model in
genie/model, report.md, report.json, curves.png and the pictures of genie-evaluate. Each
step is a command of its own, which is printed. Starts anew each time.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from genie_tf.experiments import cli
from genie_tf.files import local_path

FLAGS = flags.FLAGS

_DATASET = "coinrun/random_hard_small"


def define_flags() -> None:
    cli.define_path("output", "runs/demo", "Folder for all that is written.")
    cli.define_path("data_dir", None, "Where TFDS keeps its datasets.")


def main() -> None:
    cli.import_keras()
    from genie_tf import media
    from genie_tf.evaluation import report

    with cli.user_errors():
        folder = cli.make_folder(local_path(FLAGS.output))
    tokenizer, actions, genie = (folder / x for x in ("tokenizer", "actions", "genie"))
    for earlier in (tokenizer, actions, genie):
        shutil.rmtree(earlier, ignore_errors=True)
    data_dir = [f"--data_dir={FLAGS.data_dir}"] if FLAGS.data_dir else []
    start = time.perf_counter()
    seconds = {
        "dataset": _build_dataset(),
        "tokenizer": _run(
            "genie_tf.experiments.train",
            "--config=coinrun_tokenizer:tiny",
            f"--workdir={tokenizer}",
            *data_dir,
        ),
        "actions": _run(
            "genie_tf.experiments.train",
            "--config=coinrun_lam:tiny",
            f"--workdir={actions}",
            *data_dir,
        ),
        "genie": _run(
            "genie_tf.experiments.train",
            "--config=coinrun_genie:tiny",
            f"--workdir={genie}",
            f"--config.tokenizer={tokenizer / 'model'}",
            f"--config.action_model={actions / 'model'}",
            *data_dir,
        ),
        "evaluation": _run(
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
    media.plot_curves(folder / "curves.png", _curves(tokenizer, actions, genie))
    print(f"{seconds['total'] / 60:.1f} minutes. Look at {folder}/rollout.gif and")
    print(f"{folder}/report.md; play on with:")
    print(
        f"  genie-generate --preset={genie}/model --prompt={folder}/prompt.png "
        "--actions=0,0,0,1,1,1 --output=mine.gif"
    )


def _build_dataset() -> float:
    """Build the dataset if TFDS does not have it yet; the seconds it took."""
    import tensorflow_datasets as tfds

    import genie_tf.datasets  # noqa: F401  Registers coinrun.

    print(f"$ python -c 'tfds.load({_DATASET!r})'", flush=True)
    start = time.perf_counter()
    tfds.builder(_DATASET, data_dir=FLAGS.data_dir).download_and_prepare()
    return time.perf_counter() - start


def _run(module: str, *arguments) -> float:
    """Run a module as a command, shown as it runs; the seconds it took.

    Raises:
        UserError: if it fails; what was wrong, it has said itself.
    """
    command = ["-m", module, *map(str, arguments)]
    print(f"$ python {shlex.join(command)}", flush=True)
    start = time.perf_counter()
    # In a session of its own, so that Ctrl-C only interrupts this program, and not past
    # the filter of `cli`, which knows no progress bars.
    with subprocess.Popen(
        [sys.executable, *command], stderr=sys.stderr, start_new_session=True
    ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.kill()
            raise
    if code:
        raise cli.UserError(f"{module} ended with exit code {code}, as said above")
    return time.perf_counter() - start


def _curves(tokenizer: Path, actions: Path, genie: Path) -> list[dict]:
    """The records of all trainings, each curve under the name of its part."""
    shown = {
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
        for workdir, titles in shown.items()
        for record in map(json.loads, (workdir / "metrics.jsonl").open())
    ]


def run() -> None:
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
