"""Checkpoints a training can be resumed from, whole or not there at all.

A checkpoint is a folder `step_00000100` of `model.weights.h5`, `optimizer.npz` and
`model.json`, the settings of the model. It is written under another name and renamed
when complete. Neither holds code, and reading them runs none.
"""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np

_KEPT = 2


def save_checkpoint(
    folder: Path,
    step: int,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> Path:
    """Writes the checkpoint of a step and removes all but the newest two.

    Args:
        folder: of all checkpoints of a training.
        step: steps done.
        model: the model.
        optimizer: its built optimiser, which knows the step of the learning rate.

    Returns:
        The folder of the checkpoint.
    """
    final = folder / f"step_{step:08d}"
    partial = folder / f".partial_{step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_weights(partial / "model.weights.h5")
    np.savez(
        partial / "optimizer.npz",
        **{str(i): np.array(x.value) for i, x in enumerate(optimizer.variables)},
    )
    (partial / "model.json").write_text(_config_of(model))
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    for old in _all_checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old)
    return final


def latest_step(folder: Path) -> int:
    """The step of the newest checkpoint in a folder, 0 if there is none."""
    checkpoints = _all_checkpoints(folder)
    return int(checkpoints[-1].name.removeprefix("step_")) if checkpoints else 0


def restore_checkpoint(
    folder: Path,
    step: int,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> None:
    """Reads the checkpoint of a step into a model and its optimiser.

    Raises:
        ValueError: if the checkpoint is of a model or an optimiser with other settings,
            or damaged.
    """
    checkpoint = folder / f"step_{step:08d}"
    variables = optimizer.variables
    try:
        saved = _flat(json.loads((checkpoint / "model.json").read_text()))
        with np.load(checkpoint / "optimizer.npz", allow_pickle=False) as file:
            arrays = [file[str(i)] for i in range(len(file.files))]
        difference = _difference(saved, _flat(json.loads(_config_of(model))))
        if [x.shape for x in arrays] != [tuple(x.shape) for x in variables]:
            difference = difference or "another optimiser than the config asks for"
        if not difference:
            model.load_weights(checkpoint / "model.weights.h5")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"The checkpoint {checkpoint} is damaged: remove it, to go on from the one "
            "before."
        ) from error
    if difference:
        raise ValueError(
            f"The checkpoint {checkpoint} is of {difference}: go on with the settings "
            "it was made with, or start in another --workdir."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _all_checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*"))


def _config_of(model: keras.Model) -> str:
    return json.dumps(model.get_config(), indent=1)


def _difference(saved: dict, asked: dict) -> str:
    """The first setting in which two models differ, in words; empty if in none."""
    for name in saved | asked:
        if saved.get(name) != asked.get(name) and not name.endswith("name"):
            return (
                f"a model with {name}={saved.get(name)}, where the config asks for "
                f"{asked.get(name)}"
            )
    return ""


def _flat(config, prefix: str = "") -> dict:
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        name: leaf
        for key, value in config.items()
        for name, leaf in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }
