"""A run of a training program in its workdir, from the last checkpoint to the model."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from genie_tf.experiments.cli.checks import (
    UserError,
    check_folder,
    make_folder,
    user_errors,
)
from genie_tf.files import local_path
from genie_tf.presets.folder import holds_preset, read_config


class TrainingData(NamedTuple):
    """What a model learns from and is evaluated on.

    Attributes:
        inputs: what identifies the data, see `history.describe_data`.
        open_batches: returns endless batches from a step on.
        batch_at: returns the batch after a number of steps.
        validate: see `training_loop.train`.
        can_stop: returns whether the run can stop now and be resumed exactly.
    """

    inputs: dict
    open_batches: Callable[[int], Iterator[dict]]
    batch_at: Callable[[int], dict]
    validate: Callable[[], tuple]
    can_stop: Callable[[], bool] = lambda: True


def check_workdir(workdir: str) -> Path:
    """Return the folder of a workdir, which need not exist.

    Raises:
        ValueError: if it can't be used, or the model cannot be written there.
    """
    folder = check_folder(local_path(workdir))
    if holds_preset(folder):
        raise ValueError(f"{folder} holds a trained model: choose another --workdir.")
    if (folder / "model").exists():
        read_config(folder / "model")  # Only a preset is replaced at the end.
    return folder


def open_checkpoints(config: ConfigDict, folder: Path):
    """Return the `Checkpoints` of a run in a folder."""
    from genie_tf.training.checkpoints import Checkpoints

    return Checkpoints(
        folder / "checkpoints",
        config.keep_last,
        config.keep_every,
        config.keep_best,
        config.best_is,
    )


def run_training(
    config: ConfigDict,
    folder: Path,
    engine,
    checkpoints,
    data: TrainingData,
    save_model: Callable[[dict, list[dict], int], None],
    command: str,
    allow_change: bool,
) -> None:
    """Train a model in a folder until all steps are done, or SIGTERM comes.

    Args:
        config: settings of the run.
        folder: folder for checkpoints, metrics and the model.
        engine: an `Engine`.
        checkpoints: see `open_checkpoints`.
        data: what it learns from.
        save_model: saves the trained model, given its scores, the phases of the run (see
            `history.record`) and the number of steps.
        command: command line, which is recorded.
        allow_change: whether to resume even if settings or data have changed.

    Raises:
        UserError: if a checkpoint or the folder is unsuitable, or another program trains
            there.
    """
    from genie_tf.errors import DataError
    from genie_tf.training import history
    from genie_tf.training.folder_lock import locked
    from genie_tf.training.optimizers import averaged_weights
    from genie_tf.training.training_loop import Intervals, sigterm_caught, train

    make_folder(folder)
    with contextlib.ExitStack() as until_end:
        with user_errors():
            is_chief = engine.worker == 0
            if is_chief:
                until_end.enter_context(locked(folder))
            if checkpoints.latest_step() and not allow_change:
                history.check_changes(
                    folder, config.to_dict(), data.inputs, checkpoints.latest_step()
                )
            start, pending = checkpoints.restore(engine.model, engine.optimizer)
            if start > config.steps:
                raise ValueError(
                    f"{folder} has already been trained for {start} steps; config.steps "
                    f"asks for {config.steps}."
                )
            batches = data.open_batches(start)
            if is_chief:
                phases = history.record(
                    folder, config.to_dict(), data.inputs, command, start
                )
        try:
            with sigterm_caught() as stop:
                step, records = train(
                    engine,
                    batches,
                    data.batch_at,
                    checkpoints=checkpoints,
                    start=start,
                    pending=pending,
                    steps=config.steps,
                    workdir=folder,
                    every=Intervals(
                        config.log_every,
                        config.evaluate_every,
                        config.checkpoint_every,
                        config.steps_per_call,
                    ),
                    validate=data.validate,
                    description=config.stage,
                    stop=lambda: stop() and data.can_stop(),
                )
            if not is_chief:
                return
            if step < config.steps:
                print(
                    f"Stopped at step {step} and saved: rerun the same command to "
                    "resume."
                )
                return
            last = next((x for x in records if x["step"] == step), {})
            scores = {
                name.removeprefix("validation/"): value
                for name, value in last.items()
                if name.startswith("validation/")
            }
            with averaged_weights(engine.model, engine.optimizer):
                save_model(scores, phases, step)
        except (OSError, DataError) as error:
            raise UserError(
                f"stopped: {error}; rerun the same command to resume from the last "
                f"checkpoint, step {checkpoints.latest_step()}"
            ) from error
