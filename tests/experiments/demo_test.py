"""Steps and curves of the demo, without running its commands."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from genie_tf.experiments import demo
from genie_tf.experiments.cli import commands as commands_module
from genie_tf.experiments.cli import parse_actions
from genie_tf.presets.folder import read_world

RECORDS = {
    "tokenizer": {"psnr": 20.0, "drawn": 0.1, "loss": 0.1},
    "actions": {"psnr": 25.0, "perplexity": 4.0, "loss": 0.2},
    "genie": {
        "dynamics/shift_nats": 1.0,
        "dynamics/code_nats": 20.0,
        "loss": 5.1,
    },
}
MEAN = {"mean": 22.0, "ci95": [21.5, 22.5]}
SCORES = {
    "model": "VideoTokenizer",
    "preset": "genie/model",
    "dataset": "coinrun/held_hard_small",
    "split": "test",
    "stride": 1,
    "seed": 0,
    "clips": 64,
    "frames": 16,
    "tokenizer": {
        "videos": {"reconstruction": {"psnr_capped": MEAN, "ssim": MEAN}},
        **{"codes_used": 3, "usage": 0.75, "perplexity": 2.0, "entropy": 0.5},
        "counts": [4, 0, 3, 1],
    },
    "hardware": {"processor": "x86_64", "cores": 2},
    "versions": {"python": "3.11"},
    "seconds": {"evaluation": 60.0},
}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Commands of the demo, replaced by a function that only writes their files."""
    commands = []

    def run(command, **_):
        commands.append(command[1:])
        arguments = dict(word.partition("=")[::2] for word in command[3:])
        if "--workdir" in arguments:
            workdir = tmp_path / arguments["--workdir"]
            workdir.mkdir()
            lines = [{"step": step, **RECORDS[workdir.name]} for step in (1, 2)]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (workdir / "metrics.jsonl").write_text(text)
        elif "--dataset" in arguments:
            (tmp_path / "report.json").write_text(json.dumps(SCORES))
        return contextlib.nullcontext(SimpleNamespace(wait=lambda: 0))

    monkeypatch.setattr(commands_module, "subprocess", SimpleNamespace(Popen=run))
    monkeypatch.setattr(demo, "_build_dataset", lambda: 1.5)
    flags = SimpleNamespace(output=str(tmp_path), data_dir="data")
    monkeypatch.setattr(demo, "FLAGS", flags)
    return commands


def test_demo_trains_evaluates_and_reports(commands, tmp_path):
    (tmp_path / "genie").mkdir()
    (tmp_path / "genie" / "left from last time").touch()
    demo.main()

    shipped, *commands, own = commands
    assert shipped[1:3] == [
        "genie_tf.experiments.generate",
        "--preset=genie_coinrun",
    ]
    prompt, actions = (word.partition("=")[2] for word in shipped[3:5])
    _, num_actions = read_world("genie_coinrun")
    assert len(parse_actions(actions.split(","), num_actions)) == 100
    assert Path(prompt).is_file()
    assert shipped[5:] == [f"--output={tmp_path}/preset.gif"]
    assert own[2:5] == [
        f"--preset={tmp_path}/genie/model",
        f"--prompt={tmp_path}/prompt.png",
        "--actions=" + ",".join(str(action) for action in range(6) for _ in range(5)),
    ]
    assert commands == [
        [
            *("-m", "genie_tf.experiments.train"),
            "--config=coinrun_delta_tokenizer:tiny",
            f"--workdir={tmp_path}/tokenizer",
            "--data_dir=data",
        ],
        [
            *("-m", "genie_tf.experiments.train"),
            "--config=coinrun_lam:tiny",
            "--config.dataset=coinrun/held_hard_small",
            f"--workdir={tmp_path}/actions",
            "--data_dir=data",
        ],
        [
            *("-m", "genie_tf.experiments.train"),
            "--config=coinrun_delta_genie:tiny",
            f"--workdir={tmp_path}/genie",
            f"--config.tokenizer={tmp_path}/tokenizer/model",
            f"--config.action_model={tmp_path}/actions/model",
            "--data_dir=data",
        ],
        [
            *("-m", "genie_tf.experiments.evaluate"),
            f"--preset={tmp_path}/genie/model",
            "--dataset=coinrun/held_hard_small",
            *("--clips=128", "--overwrite"),
            f"--output={tmp_path}",
            "--data_dir=data",
        ],
    ]
    assert not (tmp_path / "genie" / "left from last time").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    seconds = report.pop("seconds")
    assert report == {k: v for k, v in SCORES.items() if k != "seconds"}
    steps = (
        "preset",
        "dataset",
        "tokenizer",
        "actions",
        "genie",
        "evaluation",
        "play",
        "total",
    )
    assert tuple(seconds) == steps
    assert seconds["dataset"] == 1.5
    assert "| reconstruction | 22.00 (21.50 to 22.50) | 22.000 " in (
        (tmp_path / "report.md").read_text()
    )
    with Image.open(tmp_path / "curves.png") as curves:
        # Six plots are in two rows.
        assert curves.size == (3 * 480, 2 * 312)


def test_curves_are_named_after_their_parts(commands, tmp_path):
    demo.main()
    folders = (tmp_path / name for name in ("tokenizer", "actions", "genie"))
    curves = demo._read_curves(*folders)
    assert [record["step"] for record in curves] == [1, 2] * 3
    assert curves[0] == {
        "step": 1,
        "tokenizer: PSNR": 20.0,
        "tokenizer: share drawn": 0.1,
    }
    assert curves[2] == {
        "step": 1,
        "latent actions: PSNR of the next frame": 25.0,
        "latent actions: perplexity": 4.0,
    }
    assert curves[4] == {
        "step": 1,
        "dynamics: nats of a shift": 1.0,
        "dynamics: nats of a drawn patch": 20.0,
    }
