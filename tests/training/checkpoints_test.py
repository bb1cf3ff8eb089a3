"""Checkpoints come back whole, or say what is wrong."""

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


def variables_of(model, optimizer):
    return [np.array(v) for v in (*model.weights, *optimizer.variables)]


@pytest.fixture(scope="module")
def trained():
    """A model and its optimizer after a step."""
    model, optimizer = model_and_optimizer()
    rng = np.random.default_rng(0)
    optimizer.apply(
        [rng.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
    )
    model.quantizer.idle.assign(np.arange(24))
    return model, optimizer


@pytest.fixture(scope="module")
def fresh():
    """A model and its optimizer to read into."""
    return model_and_optimizer()


@pytest.fixture
def folder(trained, tmp_path):
    """With a checkpoint of step 1."""
    save(tmp_path / "checkpoints", [1], trained)
    return tmp_path / "checkpoints"


def save(folder, steps, trained, scores=None, **policy):
    checkpoints = Checkpoints(folder, **policy)
    for step in steps:
        checkpoints.save(step, *trained, scores=scores and {"loss": scores[step]})
    checkpoints.wait()


def steps_in(folder):
    return [int(name.removeprefix("step_")) for name in sorted(os.listdir(folder))]


def test_every_variable_comes_back(folder, trained, fresh):
    for variable in (*fresh[0].weights, *fresh[1].variables):
        variable.assign(variable + 1)
    assert Checkpoints(folder).restore(*fresh) == (1, {})
    for found, saved in zip(variables_of(*fresh), variables_of(*trained), strict=True):
        np.testing.assert_array_equal(found, saved)


def test_pending_metrics_come_back(folder, trained, fresh):
    checkpoints = Checkpoints(folder)
    pending = {"loss": np.array([1.5, 2.5]), "a/b": np.array([3.0, 4.0])}
    checkpoints.save(2, *trained, pending)
    checkpoints.wait()
    step, found = checkpoints.restore(*fresh)
    assert step == 2
    np.testing.assert_equal(found, pending)


def test_a_checkpoint_is_of_the_moment_it_was_asked_for(tmp_path, fresh, monkeypatch):
    """Although it is written while training goes on."""
    model, optimizer = model_and_optimizer()
    saved = variables_of(model, optimizer)
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
    for found, expected in zip(variables_of(*fresh), saved, strict=True):
        np.testing.assert_array_equal(found, expected)


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
def test_checkpoints_are_kept_by_a_policy(tmp_path, trained, policy, kept):
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
def test_a_policy_that_makes_no_sense(tmp_path, policy, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Checkpoints(tmp_path, **policy)


def test_what_a_kill_left_is_ignored_and_replaced(folder, trained, fresh):
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


def test_a_file_in_the_place_of_a_checkpoint(folder, trained, fresh):
    (folder / "step_00000002").touch()
    assert Checkpoints(folder).latest_step() == 1
    save(folder, [2, 3], trained)
    assert steps_in(folder) == [2, 3]
    assert Checkpoints(folder).restore(*fresh)[0] == 3


def test_steps_are_numbers_and_not_texts(tmp_path, trained):
    save(tmp_path, [99_999_999, 100_000_000], trained, keep_last=1)
    assert steps_in(tmp_path) == [100_000_000]


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no", b"\0\0\0", b"\xff", b"[]", b'{"loss": "low"}', b"[" * 100_000],
)
def test_a_checkpoint_without_readable_scores_is_not_the_best(
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


def test_a_score_that_is_no_number_is_not_the_best(tmp_path, trained):
    scores = {1: float("nan"), 2: 0.5, 3: 0.6}
    save(tmp_path, [1, 2, 3], trained, scores, keep_best="loss", keep_last=1)
    assert steps_in(tmp_path) == [2, 3]


def test_an_interruption_drops_a_checkpoint_that_takes_long(
    folder, trained, monkeypatch
):
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


def test_an_interruption_leaves_time_to_write(folder, trained):
    checkpoints = Checkpoints(folder)
    with pytest.raises(KeyboardInterrupt), checkpoints:
        checkpoints.save(2, *trained)
        raise KeyboardInterrupt
    assert steps_in(folder) == [1, 2]


def test_a_full_disk_leaves_the_checkpoint_before(folder, trained, monkeypatch):
    def fail(*arguments, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    checkpoints = Checkpoints(folder)
    checkpoints.save(2, *trained)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.wait()
    assert steps_in(folder) == [1]
    assert checkpoints.latest_step() == 1


def test_no_folder_is_step_0(tmp_path, fresh):
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
def test_other_settings_are_named(folder, arguments, difference):
    asking = model_and_optimizer(**arguments)
    before = variables_of(*asking)
    with pytest.raises(ValueError) as error:
        Checkpoints(folder).restore(*asking)
    assert str(error.value) == (
        f"The checkpoint {folder}/step_00000001 is of {difference}: continue with "
        "its original settings, or start in another --workdir."
    )
    for value, old in zip(variables_of(*asking), before, strict=True):
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
def test_of_a_damaged_one_the_one_before_is_used(
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


def test_a_step_once_damaged_may_be_saved_again(folder, trained, fresh):
    save(folder, [20], trained)
    damage(folder / "step_00000020" / "state.npz", "truncated")
    checkpoints = Checkpoints(folder)
    checkpoints.restore(*fresh)
    for step in (10, 20, 30):
        checkpoints.save(step, *trained)
    checkpoints.wait()
    assert steps_in(folder) == [20, 30]
    assert Checkpoints(folder).restore(*fresh)[0] == 30


def test_all_damaged(folder, fresh):
    damage(folder / "step_00000001" / "state.npz", "truncated")
    with pytest.raises(ValueError) as error:
        Checkpoints(folder).restore(*fresh)
    assert str(error.value) == (
        f"All checkpoints in {folder} are damaged: remove them to start from scratch."
    )


class Trap:
    """Runs code where it is unpickled."""

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
