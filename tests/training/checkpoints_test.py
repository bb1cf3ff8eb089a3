"""Checkpoints come back whole, or say what is wrong."""

import os
import pathlib
import shutil

import numpy as np
import pytest

from genie_tf.testing.tiny_models import TRANSFORMER, tiny_tokenizer
from genie_tf.training.checkpoints import (
    latest_step,
    restore_checkpoint,
    save_checkpoint,
)
from genie_tf.training.optimizers import WarmupDecay, make_optimizer


def model_and_optimizer(name="adamw", **changes):
    model = tiny_tokenizer(**changes)
    return model, make_optimizer(model, WarmupDecay(0.1, 10, 0), name=name)


def variables_of(model, optimizer):
    return [np.array(v) for v in (*model.weights, *optimizer.variables)]


@pytest.fixture(scope="module")
def trained():
    """A model and its optimiser after a step."""
    model, optimizer = model_and_optimizer()
    rng = np.random.default_rng(0)
    optimizer.apply(
        [rng.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
    )
    model.quantizer.idle.assign(np.arange(24))
    return model, optimizer


@pytest.fixture(scope="module")
def fresh():
    """A model and its optimiser to read into."""
    return model_and_optimizer()


@pytest.fixture
def folder(trained, tmp_path):
    """With a checkpoint of step 1."""
    save_checkpoint(tmp_path / "checkpoints", 1, *trained)
    return tmp_path / "checkpoints"


def test_every_variable_comes_back(folder, trained, fresh):
    for variable in (*fresh[0].weights, *fresh[1].variables):
        variable.assign(variable + 1)
    restore_checkpoint(folder, 1, *fresh)
    for found, saved in zip(variables_of(*fresh), variables_of(*trained), strict=True):
        np.testing.assert_array_equal(found, saved)


def test_the_newest_two_are_kept(folder, trained):
    for step in (20, 300):
        save_checkpoint(folder, step, *trained)
    assert sorted(os.listdir(folder)) == ["step_00000020", "step_00000300"]
    assert latest_step(folder) == 300


def test_what_a_kill_left_is_ignored_and_replaced(folder, trained, fresh):
    shutil.copytree(folder / "step_00000001", folder / ".partial_00000002")
    (folder / ".partial_00000002" / "optimizer.npz").write_bytes(b"half of i")
    assert latest_step(folder) == 1
    save_checkpoint(folder, 2, *trained)
    assert sorted(os.listdir(folder)) == ["step_00000001", "step_00000002"]
    restore_checkpoint(folder, 2, *fresh)


def test_no_folder_is_step_0(tmp_path):
    assert latest_step(tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (
            {"encoder": {**TRANSFORMER, "dim": 32}},
            "a model with encoder.dim=16, where the config asks for 32",
        ),
        ({"num_codes": 12}, "a model with num_codes=24, where the config asks for 12"),
        ({"name": "muon"}, "another optimiser than the config asks for"),
    ],
)
def test_other_settings_are_named(folder, arguments, difference):
    asking = model_and_optimizer(**arguments)
    before = variables_of(*asking)
    with pytest.raises(ValueError) as error:
        restore_checkpoint(folder, 1, *asking)
    assert str(error.value) == (
        f"The checkpoint {folder}/step_00000001 is of {difference}: go on with the "
        "settings it was made with, or start in another --workdir."
    )
    for value, old in zip(variables_of(*asking), before, strict=True):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("name", ["model.weights.h5", "optimizer.npz", "model.json"])
@pytest.mark.parametrize("damage", ["removed", "empty", "truncated", "noise"])
def test_damage_is_told(folder, fresh, name, damage):
    path = folder / "step_00000001" / name
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        changed = {"empty": b"", "truncated": whole[: len(whole) // 2], "noise": b"no"}
        path.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=r"step_00000001 is damaged: remove it, to go"):
        restore_checkpoint(folder, 1, *fresh)


class Trap:
    """Runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_nothing_is_unpickled(folder, fresh, tmp_path):
    trap = np.array([Trap(tmp_path / "trapped")], dtype=object)
    np.savez(folder / "step_00000001" / "optimizer.npz", **{"0": trap})
    with pytest.raises(ValueError, match="is damaged"):
        restore_checkpoint(folder, 1, *fresh)
    assert not (tmp_path / "trapped").exists()
