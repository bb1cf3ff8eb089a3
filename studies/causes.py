"""Train worlds without one cause of holding each: a table of docs/world_that_holds.md.

python studies/causes.py --output=runs/causes

Each row is a world of size `tiny` that differs from `base` in one thing. All have the
latent actions of `base`. Stages that are finished are not trained again, and others
resume. Prints the table from the horizon study of each world; --rows=base,no_errors runs
only these rows.
"""

import json
import os
from pathlib import Path

from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS

_DATASET = "coinrun/mixed_hard"
_TEST = "coinrun/held_hard_small"
_FRAMES = 100
_TOKENIZER, _GENIE = "coinrun_delta_tokenizer:tiny", "coinrun_delta_genie:tiny"
# What each row changes: configs and flags of the tokenizer and of the dynamics.
_ROWS = {
    "base": ([], []),
    "drawn_anew": (
        ["--config=coinrun_tokenizer:tiny"],
        ["--config=coinrun_genie:tiny"],
    ),
    "one_code": (["--config.model.depth=1"], []),
    "no_memory": (["--config.model.margin=0"], []),
    "no_errors": ([], ["--config.dynamics.error_rates=(0.0,0.0)"]),
    "200_levels": ([], ["--config.dataset=coinrun/held_hard_small"]),
    "third_of_steps": ([], ["--config.steps=333", "--config.schedule.decay_steps=266"]),
}


def define_flags():
    flags.DEFINE_string("output", None, "Folder for all rows.")
    flags.DEFINE_list("rows", list(_ROWS), "Rows to run.")
    flags.DEFINE_integer("clips", 24, "Number of plays.", lower_bound=3)


def main():
    folder = cli.make_folder(FLAGS.output)
    actions = _train(folder / "actions", "--config=coinrun_lam:tiny")
    print(
        "| row | sharpness 1, 100 | detail 1, 100 | stripes 1, 100 | spread 100 | same "
        "direction | minutes |\n" + "|---" * 7 + "|",
        flush=True,
    )
    for row in FLAGS.rows:
        if row not in _ROWS:
            raise cli.UserError(f"expected rows of {', '.join(_ROWS)}; received {row}")
        for_tokenizer, for_genie = _ROWS[row]
        tokenizer = _train(
            folder / (row if for_tokenizer else "base") / "tokenizer",
            f"--config={_TOKENIZER}",
            *for_tokenizer,
        )
        genie = _train(
            folder / row / "genie",
            f"--config={_GENIE}",
            f"--config.tokenizer={tokenizer}",
            f"--config.action_model={actions}",
            *for_genie,
        )
        report = folder / row / "report"
        if not (report / "report.json").exists():
            cli.run_module(
                "genie_tf.experiments.evaluate",
                f"--preset={genie}",
                f"--dataset={_TEST}",
                f"--clips={FLAGS.clips}",
                f"--horizon={_FRAMES}",
                f"--horizon_clips={FLAGS.clips}",
                f"--output={report}",
            )
        minutes = sum(_minutes(preset.parent) for preset in (tokenizer, genie))
        print(_format_row(row, report, minutes), flush=True)


def _train(workdir: Path, *arguments: str) -> Path:
    """Train a stage unless it is finished, and return its preset."""
    preset = workdir / "model"
    if not preset.exists():
        dataset = f"--config.dataset={_DATASET}"
        cli.run_module(
            "genie_tf.experiments.train", f"--workdir={workdir}", dataset, *arguments
        )
    return preset


def _minutes(workdir: Path) -> float:
    """Return how long the steps of a stage took."""
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    minutes, before = 0.0, 0
    for record in records:
        minutes += (record["step"] - before) / record["steps_per_second"] / 60
        before = record["step"]
    return minutes


def _format_row(row: str, folder: Path, minutes: float) -> str:
    """Return a table row with the scores of a report."""
    horizon = json.loads((folder / "report.json").read_text())["long_play"]
    last = horizon["ages"].index(_FRAMES)

    def cell(measure, *indices):
        return ", ".join(f"{horizon[measure][i]['value']:.2f}" for i in indices)

    # Other actions have no direction to keep.
    same = [
        action["same_direction"][last]
        for action in horizon["actions"]
        if any(action["shift"][0])
    ]
    cells = [
        row,
        *(cell(measure, 0, last) for measure in ("sharpness", "detail", "stripes")),
        cell("spread", last),
        f"{sum(same) / max(len(same), 1):.0%}",
        f"{minutes:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cli.run(main, define_flags, required=["output"])
