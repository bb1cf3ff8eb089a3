"""Checkpoints a training can be resumed from, whole or not there at all.

A checkpoint is a folder `step_00000100` of `model.weights.h5`, `optimizer.npz` and
`model.json`, the settings of the model. It is written under another name and renamed
when complete. Neither holds code, and reading them runs none.
"""

import json
import shutil
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
    (partial / "model.json").write_text(json.dumps(model.get_config(), indent=1))
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
        ValueError: if the checkpoint is of a model with other settings.
    """
    checkpoint = folder / f"step_{step:08d}"
    saved = _flat(json.loads((checkpoint / "model.json").read_text()))
    asked = _flat(json.loads(json.dumps(model.get_config())))
    for name in saved.keys() | asked.keys():
        if saved.get(name) != asked.get(name) and not name.endswith("name"):
            raise ValueError(
                f"The checkpoint {checkpoint} is of a model with {name}="
                f"{saved.get(name)}, and the config asks for {asked.get(name)}: go on "
                "with the settings it was made with, or start in another --workdir."
            )
    model.load_weights(checkpoint / "model.weights.h5")
    with np.load(checkpoint / "optimizer.npz", allow_pickle=False) as arrays:
        for i, variable in enumerate(optimizer.variables):
            variable.assign(arrays[str(i)])


def _all_checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*"))


def _flat(config, prefix: str = "") -> dict:
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        name: leaf
        for key, value in config.items()
        for name, leaf in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }
