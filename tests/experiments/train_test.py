"""End-to-end runs of genie-train: its files, and resuming."""

import json
import re
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from genie_tf.experiments import train
from genie_tf.models import LatentActionModel, VideoTokenizer
from genie_tf.presets.folder import read_config

TOKENIZER = "train tokenizer"
LOG = "tokenizer/metrics.jsonl"


@pytest.mark.parametrize("stage", ["tokenizer", "genie"])
def test_training_writes_model_curves_and_checkpoint(trained, stage):
    workdir = trained / stage
    written = {path.name for path in workdir.iterdir()}
    assert written == {
        *("config.json", "history.json", "metrics.jsonl"),
        *("checkpoints", "tensorboard", "model"),
    }
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert "validation/loss" in records[-1]
    config = json.loads((workdir / "config.json").read_text())
    assert config["steps"] == 3 and config["stage"] == stage
    about = read_config(workdir / "model")
    kind = {"tokenizer": "VideoTokenizer", "genie": "Genie"}[stage]
    assert about["description"] == (
        f"{kind} trained on coinrun/tiny, for 3 steps of 2 clips of 4 frames."
    )
    assert about["dataset"] == "coinrun/tiny"
    command = f"genie-train --config=coinrun_{stage}:tiny --workdir={stage} "
    assert about["command"].startswith(command)
    assert about["scores"]["loss"] == records[-1]["validation/loss"]
    assert about["settings"] == config
    card = (workdir / "model/README.md").read_text()
    assert about["command"] in card
    assert f"| loss | {records[-1]['validation/loss']:.4g} |" in card


def test_guided_genie_has_tokenizer_and_dynamics(run, trained):
    ended = run("train guided", trained, {})
    assert ended.code == 0, ended.errors
    model = trained / "guided/model"
    assert read_config(model)["action_names"][7] == "right"
    parts = json.loads((model / "config.json").read_text())["parts"]
    assert list(parts) == ["tokenizer", "dynamics"]
    assert parts["dynamics"]["action_dim"] == 15


def test_given_latent_action_model_stays_frozen(run, trained):
    changes = {"workdir": "separate", "config.action_model": "genie/model"}
    ended = run("train genie", trained, changes)
    assert ended.code == 0, ended.errors
    before, after = (
        LatentActionModel.from_preset(trained / folder / "model").get_weights()
        for folder in ("genie", "separate")
    )
    for expected, actual in zip(before, after, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_guided_genie_needs_actions():
    config = ConfigDict({"num_true_actions": 15, "dataset": "coinrun/tiny"})
    with pytest.raises(ValueError) as error:
        train._check_actions(config, {})
    assert str(error.value) == (
        "config.num_true_actions=15 needs a dataset with discrete actions; coinrun/tiny has "
        "none."
    )


def test_given_tokenizer_stays_frozen(trained):
    in_genie, original = (
        VideoTokenizer.from_preset(trained / stage / "model").weights
        for stage in ("genie", "tokenizer")
    )
    for actual, expected in zip(in_genie, original, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_finished_run_can_be_repeated(trained, run):
    log = trained / "tokenizer/metrics.jsonl"
    before = log.read_text()
    ended = run("train tokenizer", trained, {})
    assert (ended.code, log.read_text()) == (0, before), ended.errors


def test_terminated_run_saves_and_resumes(tmp_path, run):
    ended = run(TOKENIZER, tmp_path, {"config.steps": 1_000_000}, terminate_at=LOG)
    assert ended.code == 0, ended.errors
    message = r"Stopped at step (\d+) and saved: rerun the same command to resume.\n"
    step = int(re.fullmatch(message, ended.out)[1])
    assert not (tmp_path / "tokenizer/model").exists()
    ended = run(TOKENIZER, tmp_path, {"config.steps": step + 1})
    assert ended.code == 0, ended.errors
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).open()]
    assert steps == list(range(1, step + 2))


def test_full_disk_keeps_last_checkpoint(tmp_path, run):
    assert run(TOKENIZER, tmp_path, {}).code == 0
    changes = {"config.steps": 4, "config.checkpoint_every": 1}
    ended = run(TOKENIZER, tmp_path, changes, largest_file=50_000)
    assert ended.code == 2, ended.errors
    # The progress bar is above it.
    assert re.fullmatch(
        r"train.py: stopped: \[Errno 27\] File too large; rerun the same command to "
        "resume from the last checkpoint, step 3",
        ended.errors[-1],
    ), ended.errors
    checkpoints = tmp_path / "tokenizer/checkpoints"
    assert {path.name for path in checkpoints.iterdir()} <= {
        f"step_0000000{step}" for step in (1, 2, 3)
    }
    assert run(TOKENIZER, tmp_path, changes).code == 0


def test_fine_tuning_starts_from_preset_and_resumes_without_it(trained, run, tmp_path):
    start, changes = tmp_path / "start", {"config.start_from": "start"}
    changes |= {"config.seed": 1, "config.frozen": "encoder,quantizer"}
    changes |= {"config.schedule.decay_steps": 0, "config.steps": 4}
    shutil.copytree(trained / "tokenizer/model", start)
    assert run(TOKENIZER, tmp_path, {**changes, "workdir": "whole"}).code == 0
    first = run(TOKENIZER, tmp_path, {**changes, "config.steps": 2})
    assert first.code == 0, first.errors
    description = read_config(tmp_path / "tokenizer/model")["description"]
    assert description.startswith(
        "VideoTokenizer fine-tuned from start on coinrun/tiny"
    )
    old = VideoTokenizer.from_preset(start)
    shutil.rmtree(start)
    resumed = run(TOKENIZER, tmp_path, changes)
    assert resumed.code == 0, resumed.errors
    whole, parts = (
        VideoTokenizer.from_preset(tmp_path / folder / "model")
        for folder in ("whole", "tokenizer")
    )
    for expected, actual in zip(whole.weights, parts.weights, strict=True):
        np.testing.assert_array_equal(actual, expected)
    for layer in ("encoder", "quantizer", "decoder"):
        pairs = zip(*(getattr(x, layer).weights for x in (old, parts)), strict=True)
        is_same = all(np.array_equal(*pair) for pair in pairs)
        assert is_same == (layer != "decoder")


def test_allowed_change_is_recorded_in_model(trained, run, tmp_path):
    shutil.copytree(trained / "tokenizer", tmp_path / "tokenizer")
    changes = {"config.steps": 4, "config.batch_size": 4}
    ended = run(TOKENIZER, tmp_path, {**changes, "allow_change": True})
    assert ended.code == 0, ended.errors
    description = (
        "VideoTokenizer trained for 4 steps. Steps 1 to 3: batch_size 2, decay steps 3 "
        "to 3. Steps 4 to 4: batch_size 4, decay steps 4 to 4."
    )
    about = read_config(tmp_path / "tokenizer/model")
    assert about["description"] == description
    assert about["dataset"] == "coinrun/tiny"
    assert about["command"].count("genie-train --config=") == 2
    assert [x["batch_size"] for x in about["settings"]["phases"]] == [2, 4]
    assert description in (tmp_path / "tokenizer/model/README.md").read_text()
    # The same command resumes without --allow_change.
    assert run(TOKENIZER, tmp_path, changes).code == 0
