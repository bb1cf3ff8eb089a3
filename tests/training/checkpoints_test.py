"""Checkpoints are restored completely, and damaged ones are reported."""

import errno
import os
import pathlib
import shutil
import threading

import numpy as np
import pytest

from genie_tf.testing.tiny_models import TRANSFORMER, tiny_tokenizer
from genie_tf.training.checkpoints import Checkpoints
from genie_tf.training.optimizers import WarmupDecay, make_optimizer


def model_and_optimizer(name="adamw", **changes):
    model = tiny_tokenizer(**changes)
    return model, make_optimizer(model, WarmupDecay(0.1, 10, 0), name=name)


def variable_values(model, optimizer):
    return [np.array(v) for v in (*model.weights, *optimizer.variables)]


@pytest.fixture(scope="module")
def trained():
    """Model and optimizer after one step."""
    model, optimizer = model_and_optimizer()
    rng = np.random.default_rng(0)
    optimizer.apply(
        [rng.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
    )
    model.quantizer.idle.assign(np.arange(24))
    return model, optimizer


@pytest.fixture(scope="module")
def fresh():
    """Model and optimizer to restore into."""
    return model_and_optimizer()


@pytest.fixture
def folder(trained, tmp_path):
    """Folder with a checkpoint of step 1."""
    save(tmp_path / "checkpoints", [1], trained)
    return tmp_path / "checkpoints"


def save(folder, steps, trained, scores=None, **policy):
    checkpoints = Checkpoints(folder, **policy)
    for step in steps:
        checkpoints.save(step, *trained, scores=scores and {"loss": scores[step]})
    checkpoints.wait()


def steps_in(folder):
    return [int(name.removeprefix("step_")) for name in sorted(os.listdir(folder))]


def test_variables_round_trip(folder, trained, fresh):
    for variable in (*fresh[0].weights, *fresh[1].variables):
        variable.assign(variable + 1)
    assert Checkpoints(folder).restore(*fresh) == (1, {})
    for restored, saved in zip(
        variable_values(*fresh), variable_values(*trained), strict=True
    ):
        np.testing.assert_array_equal(restored, saved)


def test_pending_metrics_round_trip(folder, trained, fresh):
    checkpoints = Checkpoints(folder)
    pending = {"loss": np.array([1.5, 2.5]), "a/b": np.array([3.0, 4.0])}
    checkpoints.save(2, *trained, pending)
    checkpoints.wait()
    step, restored = checkpoints.restore(*fresh)
    assert step == 2
    np.testing.assert_equal(restored, pending)


def test_checkpoint_holds_values_at_save_time(tmp_path, fresh, monkeypatch):
    """Training continues while it is written."""
    model, optimizer = model_and_optimizer()
    saved = variable_values(model, optimizer)
    checkpoints = Checkpoints(tmp_path)
    write = checkpoints._write

    def write_late(*arguments):
        for variable in model.weights:
            variable.assign(variable + 1)
        write(*arguments)

    monkeypatch.setattr(checkpoints, "_write", write_late)
    checkpoints.save(1, model, optimizer)
    checkpoints.wait()
    checkpoints.restore(*fresh)
    for restored, expected in zip(variable_values(*fresh), saved, strict=True):
        np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({}, [6, 7]),
        ({"keep_last": 1}, [7]),
        ({"keep_last": 1, "keep_every": 3}, [3, 6, 7]),
        ({"keep_best": "loss"}, [4, 6, 7]),
        ({"keep_best": "loss", "best_is": "highest"}, [2, 6, 7]),
    ],
)
def test_policy_selects_checkpoints(tmp_path, trained, policy, kept):
    scores = {1: 0.5, 2: 0.9, 3: 0.4, 4: 0.1, 5: 0.3, 6: 0.2, 7: 0.6}
    save(tmp_path, range(1, 8), trained, scores, **policy)
    assert steps_in(tmp_path) == kept
    assert Checkpoints(tmp_path).latest_step() == 7


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"keep_last": 0}, "keep_last must be 1 or more; is 0."),
        ({"best_is": "best"}, "best_is must be lowest or highest; is 'best'."),
    ],
)
def test_impossible_policies_are_rejected(tmp_path, policy, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Checkpoints(tmp_path, **policy)


def test_leftovers_of_killed_runs_are_ignored(folder, trained, fresh):
    for leftover in (".partial_00000002", ".step_00000003.partial"):
        shutil.copytree(folder / "step_00000001", folder / leftover)
        (folder / leftover / "state.npz").write_bytes(b"half of i")
    assert Checkpoints(folder).latest_step() == 1
    save(folder, [2], trained)
    assert steps_in(folder) == [1, 2]
    assert Checkpoints(folder).restore(*fresh)[0] == 2


@pytest.mark.parametrize(
    "name",
    ["step_00000040 (copy)", "step_", "step_x", "step_40", "step_-0000009", "old"],
)
@pytest.mark.parametrize("is_folder", [True, False])
def test_other_names_are_left_alone(folder, trained, fresh, name, is_folder):
    if is_folder:
        shutil.copytree(folder / "step_00000001", folder / name)
    else:
        (folder / name).touch()
    assert Checkpoints(folder).restore(*fresh)[0] == 1
    save(folder, [2, 3], trained, keep_last=1, keep_every=2)
    assert sorted(os.listdir(folder)) == sorted(
        ["step_00000002", "step_00000003", name]
    )


def test_file_with_name_of_checkpoint_is_replaced(folder, trained, fresh):
    (folder / "step_00000002").touch()
    assert Checkpoints(folder).latest_step() == 1
    save(folder, [2, 3], trained)
    assert steps_in(folder) == [2, 3]
    assert Checkpoints(folder).restore(*fresh)[0] == 3


def test_checkpoints_are_sorted_by_number(tmp_path, trained):
    save(tmp_path, [99_999_999, 100_000_000], trained, keep_last=1)
    assert steps_in(tmp_path) == [100_000_000]


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no", b"\0\0\0", b"\xff", b"[]", b'{"loss": "low"}', b"[" * 100_000],
)
def test_checkpoint_without_readable_scores_is_not_best(
    tmp_path, trained, caplog, content
):
    save(tmp_path, [1, 2], trained, {1: 0.5, 2: 0.9}, keep_best="loss", keep_last=2)
    path = tmp_path / "step_00000001" / "metrics.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    scores = {3: 0.6, 4: 0.7}
    save(tmp_path, [3, 4], trained, scores, keep_best="loss", keep_last=1)
    assert steps_in(tmp_path) == [3, 4]
    warning = f"{path} is damaged: its checkpoint cannot be the best."
    assert caplog.text.count(warning) == 1


def test_nan_score_is_not_best(tmp_path, trained):
    scores = {1: float("nan"), 2: 0.5, 3: 0.6}
    save(tmp_path, [1, 2, 3], trained, scores, keep_best="loss", keep_last=1)
    assert steps_in(tmp_path) == [2, 3]


def test_interruption_drops_slow_checkpoint(folder, trained, monkeypatch):
    write = np.lib.format.write_array
    interrupted = threading.Event()

    def write_slowly(*arguments, **named):
        interrupted.wait(3)
        write(*arguments, **named)

    monkeypatch.setattr(np.lib.format, "write_array", write_slowly)
    checkpoints = Checkpoints(folder)
    with pytest.raises(KeyboardInterrupt), checkpoints:
        checkpoints.save(2, *trained)
        raise KeyboardInterrupt
    interrupted.set()
    checkpoints._writer.shutdown()
    assert os.listdir(folder) == ["step_00000001"]


def test_interruption_finishes_fast_checkpoint(folder, trained):
    checkpoints = Checkpoints(folder)
    with pytest.raises(KeyboardInterrupt), checkpoints:
        checkpoints.save(2, *trained)
        raise KeyboardInterrupt
    assert steps_in(folder) == [1, 2]


def test_full_disk_keeps_previous_checkpoint(folder, trained, monkeypatch):
    def fail(*arguments, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    checkpoints = Checkpoints(folder)
    checkpoints.save(2, *trained)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.wait()
    assert steps_in(folder) == [1]
    assert checkpoints.latest_step() == 1


def test_missing_folder_is_step_0(tmp_path, fresh):
    assert Checkpoints(tmp_path / "none").latest_step() == 0
    assert Checkpoints(tmp_path / "none").restore(*fresh) == (0, {})


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (
            {"encoder": {**TRANSFORMER, "dim": 32}},
            "a model with encoder.dim=16, where the config asks for 32",
        ),
        ({"num_codes": 12}, "a model with num_codes=24, where the config asks for 12"),
        ({"name": "muon"}, "another optimizer than the config asks for"),
    ],
)
def test_different_settings_are_reported(folder, arguments, difference):
    other = model_and_optimizer(**arguments)
    before = variable_values(*other)
    with pytest.raises(ValueError) as error:
        Checkpoints(folder).restore(*other)
    assert str(error.value) == (
        f"The checkpoint {folder}/step_00000001 is of {difference}: continue with "
        "its original settings, or start in another --workdir."
    )
    for value, old in zip(variable_values(*other), before, strict=True):
        np.testing.assert_array_equal(value, old)


def damage(path, how):
    whole = path.read_bytes()
    if how in ("removed", "pipe"):
        path.unlink()
        if how == "pipe":
            os.mkfifo(path)  # Reading it would wait for a writer.
        return
    middle = len(whole) // 2
    flipped = bytes([whole[middle] ^ 1])
    path.write_bytes(
        {
            "empty": b"",
            "truncated": whole[:middle],
            "noise": b"no",
            "list": b"[]",
            "flipped": whole[:middle] + flipped + whole[middle + 1 :],
        }[how]
    )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name in ("state.npz", "model.json")
        for how in ("removed", "empty", "truncated", "noise")
    ]
    + [("state.npz", "flipped"), ("state.npz", "pipe"), ("model.json", "list")],
)
def test_damaged_checkpoint_falls_back_to_previous(
    folder, trained, fresh, caplog, name, how
):
    save(folder, [2], trained)
    damage(folder / "step_00000002" / name, how)
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(*fresh)[0] == 1
    assert (
        f"The checkpoint {folder}/step_00000002 is damaged. Trying the one before it."
        in caplog.text
    )
    assert checkpoints.latest_step() == 1
    checkpoints.save(3, *trained)
    checkpoints.wait()
    assert steps_in(folder) == [1, 3]


def test_damaged_step_can_be_saved_again(folder, trained, fresh):
    save(folder, [20], trained)
    damage(folder / "step_00000020" / "state.npz", "truncated")
    checkpoints = Checkpoints(folder)
    checkpoints.restore(*fresh)
    for step in (10, 20, 30):
        checkpoints.save(step, *trained)
    checkpoints.wait()
    assert steps_in(folder) == [20, 30]
    assert Checkpoints(folder).restore(*fresh)[0] == 30


def test_error_if_all_checkpoints_are_damaged(folder, fresh):
    damage(folder / "step_00000001" / "state.npz", "truncated")
    with pytest.raises(ValueError) as error:
        Checkpoints(folder).restore(*fresh)
    assert str(error.value) == (
        f"All checkpoints in {folder} are damaged: remove them to start from scratch."
    )


class Trap:
    """Object that runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_nothing_is_unpickled(folder, fresh, tmp_path):
    trap = np.array([Trap(tmp_path / "trapped")], dtype=object)
    np.savez(folder / "step_00000001" / "state.npz", **{"model/0": trap})
    with pytest.raises(ValueError, match="are damaged"):
        Checkpoints(folder).restore(*fresh)
    assert not (tmp_path / "trapped").exists()
