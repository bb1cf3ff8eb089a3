"""Settings and data of a run are recorded, compared when resuming, and described."""

import json

import numpy as np
import pytest

from genie_tf.datasets.array_episodes import write_arrays
from genie_tf.datasets.episodes import open_episodes
from genie_tf.experiments.configs import coinrun_tokenizer
from genie_tf.training import history

INPUTS = {"dataset": "/data", "checksum of some training clips": "ab"}


def settings(**changes):
    config = coinrun_tokenizer.get_config("tiny")
    config.update_from_flattened_dict(changes)
    return config.to_dict()


@pytest.fixture
def workdir(tmp_path):
    """Workdir with 400 of 550 steps."""
    history.record(tmp_path, settings(), INPUTS, "first", 0)
    return tmp_path


def check(workdir, changes, inputs=INPUTS, steps=400):
    history.check_changes(workdir, settings(**changes), inputs, steps)


FREE = {
    "steps": 1_100,  # decay_steps keeps its share.
    "log_every": 7,
    "evaluate_every": 7,
    "checkpoint_every": 7,
    "keep_last": 7,
    "keep_every": 7,
    "keep_best": "loss",
    "best_is": "highest",
    "steps_per_call": 7,
    "accumulate": 2,
    "remat": True,
}
OTHER = {
    "seed": 1,
    "batch_size": 9,
    "clip_length": 5,
    "stride": 2,
    "camera": "hand",
    "resize": True,
    "precision": "mixed_bfloat16",
    "clip_norm": 2.0,
    "start_from": "runs/other/model",
    "frozen": "encoder",
    "train_split": "train[:50%]",
    "validation_split": "test",
    "schedule.peak": 1e-3,
    "schedule.warmup_steps": 51,
    "schedule.decay_steps": 219,
    "schedule.shape": "cosine",
    "optimizer.name": "adamw",
    "optimizer.beta_1": 0.8,
    "optimizer.ema": 0.9,
}


@pytest.mark.parametrize("name", FREE)
def test_free_settings_can_change(workdir, name):
    check(workdir, {name: FREE[name]})


@pytest.mark.parametrize("name", OTHER)
def test_other_settings_are_rejected_by_name(workdir, name):
    old = settings()
    for part in name.split("."):
        old = old[part]
    with pytest.raises(ValueError) as error:
        check(workdir, {name: OTHER[name]})
    assert str(error.value) == (
        f"The 400 steps in {workdir} were trained with other settings: config.{name} was "
        f"{old}, is {OTHER[name]}. Use the earlier settings, choose another --workdir, or "
        "continue with --allow_change, which is recorded."
    )


def test_every_setting_is_free_or_compared():
    names = {name.split(".")[0] for name in (*FREE, *OTHER)}
    by_content = {"dataset", "stage", "model", "validation_clips"}
    assert settings().keys() == names | by_content


def test_all_differences_are_reported(workdir):
    inputs = {**INPUTS, "checksum of some training clips": "cd"}
    with pytest.raises(ValueError) as error:
        check(workdir, {"seed": 1, "batch_size": 4}, inputs)
    assert (
        "config.batch_size was 8, is 4; config.seed was 0, is 1; checksum of some "
        "training clips was ab, is cd."
    ) in str(error.value)


def test_old_workdirs_are_compared_by_config(workdir):
    (workdir / "history.json").unlink()
    old = json.loads((workdir / "config.json").read_text())
    del old["stride"]  # As if it had been added later.
    (workdir / "config.json").write_text(json.dumps(old))
    check(workdir, {"stride": 2})
    with pytest.raises(ValueError, match="config.dataset was .*, is other"):
        check(workdir, {"dataset": "other"})
    phases = history.record(workdir, settings(), INPUTS, "second", 400)
    assert [phase["from_step"] for phase in phases] == [0]


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"no", b"[]", b"[5]", b"{}", b"\xff"]
)
@pytest.mark.parametrize("name", ["history.json", "config.json"])
def test_damaged_history_is_rejected_unless_allowed(workdir, name, content, caplog):
    if name == "config.json":
        (workdir / "history.json").unlink()
    (workdir / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{workdir}/{name} cannot be read, so the"):
        check(workdir, {})
    phases = history.record(workdir, settings(), INPUTS, "second", 400)
    assert f"{workdir}/{name} cannot be read" in caplog.text
    assert history.describe_phases(phases, 550) == [
        {"steps": "1 to 400", "settings": "unknown", "command": ""},
        {"steps": "401 to 550", "command": "second"},
    ]


def test_changes_are_recorded(workdir):
    history.record(workdir, settings(), INPUTS, "the same again", 100)
    changed = {"batch_size": 4, "steps": 600, "log_every": 1}
    phases = history.record(workdir, settings(**changed), INPUTS, "second", 200)
    assert history.describe_phases(phases, 600) == [
        {"steps": "1 to 200", "batch_size": 8, "decay": "steps 331 to 550"}
        | {"command": "the same again"},
        {"steps": "201 to 600", "batch_size": 4, "decay": "steps 361 to 600"}
        | {"command": "second"},
    ]
    assert json.loads((workdir / "config.json").read_text())["batch_size"] == 4
    check(workdir, changed)
    # No step has been done since.
    check(workdir, {}, steps=200)
    phases = history.record(workdir, settings(), INPUTS, "back", 200)
    assert [phase["from_step"] for phase in phases] == [0]


def test_other_data_is_recorded(workdir):
    inputs = {**INPUTS, "checksum of some training clips": "cd"}
    phases = history.record(workdir, settings(), inputs, "second", 400)
    assert [
        phase["checksum of some training clips"]
        for phase in history.describe_phases(phases, 550)
    ] == ["ab", "cd"]


@pytest.mark.parametrize(("start", "number"), [(330, 1), (331, 1), (332, 2), (550, 2)])
def test_more_steps_are_a_new_phase_after_decay_begins(workdir, start, number):
    check(workdir, {"steps": 1_100}, steps=start)
    phases = history.record(workdir, settings(steps=1_100), INPUTS, "", start)
    assert len(phases) == number


def test_finished_run_is_not_credited_to_another_command(workdir):
    phases = history.record(workdir, settings(seed=1), INPUTS, "second", 550)
    assert [phase["command"] for phase in phases] == ["first"]
    check(workdir, {})


def test_run_without_checkpoint_starts_new_history(workdir):
    phases = history.record(workdir, settings(seed=1), INPUTS, "second", 0)
    assert [phase["command"] for phase in phases] == ["second"]


def make_data(folder, number=3, length=20, seed=0, action=0):
    episodes = [
        (
            np.random.default_rng((seed, i)).integers(
                0, 256, (length, 4, 4, 3), "uint8"
            ),
            np.full(length, action),
        )
        for i in range(number)
    ]
    write_arrays(folder, {"train": episodes})
    return describe(str(folder))


def describe(dataset):
    return history.describe_data(dataset, lambda name: open_episodes(name, "train"))


def test_data_is_identified_by_content(tmp_path):
    described = make_data(tmp_path / "data")
    assert described["dataset"] == str(tmp_path / "data")
    assert described["number of training episodes"] == 3
    assert described["number of training frames"] == 60
    checksums = {described["checksum of some training clips"]}
    for i, change in enumerate(({"seed": 1}, {"action": 1}, {"length": 30})):
        other = make_data(tmp_path / str(i), **change)
        checksums.add(other["checksum of some training clips"])
    assert len(checksums) == 4
    same = make_data(tmp_path / "copy")
    assert {**same, "dataset": described["dataset"]} == described


def test_folder_is_the_same_by_any_path(tmp_path, monkeypatch):
    described = make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("data")
    for name in ("data", "./data", "link"):
        assert describe(name) == described


def test_parts_of_a_mixture_are_described_with_their_weights(tmp_path):
    alone = make_data(tmp_path / "a"), make_data(tmp_path / "b", seed=1)
    mixed = describe(f"{tmp_path}/a:0.7,{tmp_path}/b:0.3")
    assert mixed == {
        f"{name} of part {number}": value
        for number, part, weight in ((1, alone[0], 7), (2, alone[1], 3))
        for name, value in {"weight": weight, **part}.items()
    }
