"""Train and evaluate each row of the ablation in docs/steerability.md.

python studies/steerability.py --tokenizer=runs/tokenizer/model --output=runs/steerability

A row is a training run of 400 steps that differs from `base` in one setting, defined in
experiments/configs/steerability.py. Rows that already have a report are not run again.
Prints the table; --rows=base,token runs only these rows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from absl import flags

from genie_tf.experiments import cli
from genie_tf.experiments.configs import steerability

FLAGS = flags.FLAGS

_CONFIG = Path(steerability.__file__)
_DATASET = "coinrun/random_hard_small"


def define_flags():
    flags.DEFINE_string("tokenizer", None, "Folder of a trained tokenizer.")
    flags.DEFINE_string("output", None, "Folder for all rows.")
    flags.DEFINE_list("rows", list(steerability.ROWS), "Rows to run.")
    flags.DEFINE_integer("clips", 256, "Number of clips per evaluation.")


def main():
    folder = cli.make_folder(FLAGS.output)
    print(
        "| row | dPSNR_4, dB | PSNR of ten frames, dB | top-1 | NMI (shuffled) | perplexity |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for row in FLAGS.rows:
        if row not in steerability.ROWS:
            raise cli.UserError(f"expected rows of {_CONFIG}; received {row}")
        if not (folder / row / "report/report.json").exists():
            _train(row, folder)
        if row != "actions_alone":
            print(_format_row(row, folder), flush=True)


def _train(row: str, folder: Path) -> None:
    extra = []
    if row == "separate":
        extra = [f"--config.action_model={folder / 'actions_alone/model'}"]
    _run(
        "train",
        f"--config={_CONFIG}:{row}",
        f"--workdir={folder / row}",
        f"--config.tokenizer={FLAGS.tokenizer}",
        *extra,
    )
    if row != "actions_alone":
        _run(
            "evaluate",
            f"--preset={folder / row / 'model'}",
            f"--dataset={_DATASET}",
            f"--clips={FLAGS.clips}",
            "--steps=1",
            "--temperature=0",
            f"--output={folder / row / 'report'}",
        )


def _format_row(row: str, folder: Path) -> str:
    """Return a table row with the scores and 95% intervals of a report."""
    from genie_tf.evaluation.report import format_interval

    report = json.loads((folder / row / "report/report.json").read_text())
    dynamics, actions = report["dynamics"], report.get("latent_actions")
    delta, rollout = (
        dynamics["delta_psnr_4"],
        dynamics["videos"]["prediction"]["psnr_capped"],
    )
    nmi = actions and actions["agreement"]["nmi"]
    cells = [
        row,
        format_interval(delta, 2),
        format_interval(rollout, 2),
        f"{dynamics['top1']['mean']:.3f}",
        f"{nmi['value']:.3f} ({nmi['shuffled']['mean']:.3f})" if nmi else "",
        f"{actions['perplexity']:.1f}" if actions else "",
    ]
    return f"| {' | '.join(cells)} |"


def _run(app: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"genie_tf.experiments.{app}", *arguments]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise cli.UserError(f"this command failed, see above: {' '.join(command)}")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["tokenizer", "output"])
