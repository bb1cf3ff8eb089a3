"""The demo's steps and curves, without running them."""

import json
from types import SimpleNamespace

import pytest
from genie_tf.experiments import cli, demo
from PIL import Image

RECORDS = {
    "tokenizer": {"psnr": 20.0, "perplexity": 300.0, "loss": 0.1},
    "genie": {
        "latent_action/psnr": 25.0,
        "latent_action/perplexity": 4.0,
        "dynamics/cross_entropy": 5.0,
        "dynamics/top1": 0.2,
        "loss": 5.1,
    },
}
SCORES = {
    "dataset": "coinrun/random_hard_small",
    "split": "test",
    "sampling": {"num_steps": 8, "temperature": 1.0},
    "tokenizer": {"psnr": 22.0, "ssim": 0.7, "codes_used": 300, "perplexity": 200.0},
    "latent_actions": {"psnr": 24.0, "codes_used": 6, "perplexity": 5.0, "nmi": 0.3},
    "dynamics": {
        "psnr": [20.0] * 10,
        "ssim": 0.6,
        "delta_psnr_4": {"mean": 1.0, "ci95": [0.5, 1.5]},
        "top1": 0.3,
    },
    "baselines": {"repeat_last_frame_psnr": [19.0] * 10},
    "clips": 64,
}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The commands the demo runs, which here do nothing but leave their files."""
    commands = []

    def run(command):
        commands.append(command[1:])
        arguments = dict(word.split("=", 1) for word in command[3:])
        if "--workdir" in arguments:
            workdir = tmp_path / arguments["--workdir"]
            workdir.mkdir()
            lines = [{"step": step, **RECORDS[workdir.name]} for step in (1, 2)]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (workdir / "metrics.jsonl").write_text(text)
        else:
            (tmp_path / "report.json").write_text(json.dumps(SCORES))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(demo, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(demo, "_build_dataset", lambda: 1.5)
    flags = SimpleNamespace(output=str(tmp_path), data_dir="data")
    monkeypatch.setattr(demo, "FLAGS", flags)
    return commands


def test_the_demo_trains_evaluates_and_reports(commands, tmp_path):
    (tmp_path / "genie").mkdir()
    (tmp_path / "genie" / "left from last time").touch()
    demo.main()

    configs = demo._CONFIGS
    assert commands == [
        [
            *("-m", "genie_tf.experiments.train"),
            f"--config={configs}/coinrun_tokenizer.py:tiny",
            f"--workdir={tmp_path}/tokenizer",
            "--data_dir=data",
        ],
        [
            *("-m", "genie_tf.experiments.train"),
            f"--config={configs}/coinrun_genie.py:tiny",
            f"--workdir={tmp_path}/genie",
            f"--config.tokenizer={tmp_path}/tokenizer/model",
            "--data_dir=data",
        ],
        [
            *("-m", "genie_tf.experiments.evaluate"),
            f"--preset={tmp_path}/genie/model",
            "--dataset=coinrun/random_hard_small",
            *("--clips=128", "--steps=1", "--temperature=0"),
            f"--output={tmp_path}",
            "--data_dir=data",
        ],
    ]
    assert not (tmp_path / "genie" / "left from last time").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    seconds = report.pop("seconds")
    assert report == SCORES
    assert seconds.keys() == {"dataset", "tokenizer", "genie", "evaluation", "total"}
    assert seconds["dataset"] == 1.5
    assert "| tokenizer | PSNR of reconstructions, dB | 22.00 |" in (
        (tmp_path / "report.md").read_text()
    )
    with Image.open(tmp_path / "curves.png") as curves:
        # Six plots in two rows.
        assert curves.size == (3 * 480, 2 * 312)


def test_curves_are_named_after_their_parts(commands, tmp_path):
    demo.main()
    curves = demo._curves(tmp_path / "tokenizer", tmp_path / "genie")
    assert [record["step"] for record in curves] == [1, 2, 1, 2]
    assert curves[0] == {
        "step": 1,
        "tokenizer: PSNR": 20.0,
        "tokenizer: perplexity": 300.0,
    }
    assert curves[2] == {
        "step": 1,
        "latent actions: PSNR of the next frame": 25.0,
        "latent actions: perplexity": 4.0,
        "dynamics: cross-entropy": 5.0,
        "dynamics: top-1 accuracy": 0.2,
    }


def test_a_step_that_fails_ends_the_demo(capfd):
    with pytest.raises(
        cli.UserError, match="platform_of_none ended with exit code 1, as said above"
    ):
        demo._run("platform_of_none", "--flag=a b")
    assert "$ python -m platform_of_none '--flag=a b'\n" in capfd.readouterr().out


def test_a_step_is_timed():
    assert 0 < demo._run("platform") < 60
