"""The one loop that trains every stage."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from genie_tf.media import replacing
from genie_tf.training.checkpoints import (
    latest_step,
    restore_checkpoint,
    save_checkpoint,
)
from genie_tf.training.engine import TensorFlowEngine


def resume(engine: TensorFlowEngine, workdir: Path) -> int:
    """Restores the newest checkpoint of a workdir, if any; the steps done.

    Raises:
        ValueError: if the checkpoint has other settings, or is damaged.
    """
    step = latest_step(workdir / "checkpoints")
    if step:
        restore_checkpoint(
            workdir / "checkpoints", step, engine.model, engine.optimizer
        )
    return step


def train(
    engine: TensorFlowEngine,
    batches_from: Callable[[int], Iterator[Mapping[str, np.ndarray]]],
    *,
    start: int,
    steps: int,
    workdir: Path,
    log_every: int,
    checkpoint_every: int,
    evaluate_every: int,
    validation: list[Mapping[str, np.ndarray]],
    description: str,
) -> list[dict]:
    """Trains from step `start` until `steps` are done.

    Writes, in `workdir`: `checkpoints/`; `metrics.jsonl`, a line for each log with the
    step, the means over the steps since the last, and metrics of the validation
    batches as `validation/...`; and, for TensorBoard, the same curves and pictures.

    Args:
        engine: holds model and optimiser.
        batches_from: gives the endless batches from a step on.
        start: steps done already, as `resume` tells.
        steps: how many steps in all.
        workdir: where to write; exists.
        log_every, checkpoint_every, evaluate_every: in steps; the last step always.
            Whatever is evaluated or saved is logged too, so that no mean is over steps
            before and after a checkpoint.
        validation: batches to evaluate on.
        description: of the progress bar.

    Returns:
        The records of `metrics.jsonl`.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    checkpoints = workdir / "checkpoints"
    log = _MetricsLog(workdir, start)
    batches = batches_from(start)
    progress = tqdm(
        total=steps, initial=start, desc=description, unit="step", dynamic_ncols=True
    )
    since, clock = [], time.perf_counter()
    for step in range(start + 1, steps + 1):
        since.append(engine.train_step(next(batches)))
        progress.update()
        saves, evaluates, logs = (
            step % every == 0 or step == steps
            for every in (checkpoint_every, evaluate_every, log_every)
        )
        if saves or evaluates or logs:
            record = {name: _mean(since, name) for name in since[0]}
            if not math.isfinite(record["loss"]):
                raise FloatingPointError(
                    f"The loss is {record['loss']} between steps {step - len(since)} "
                    f"and {step}; the last checkpoint is of step "
                    f"{latest_step(checkpoints)}."
                )
            now = time.perf_counter()
            record["steps_per_second"] = len(since) / (now - clock)
            since, clock = [], now
            if evaluates:
                scores = [engine.eval_step(batch) for batch in validation]
                for name in scores[0]:
                    record[f"validation/{name}"] = _mean(scores, name)
                log.pictures(step, validation[0], engine.model)
            log.write(step, record)
            progress.set_postfix(
                {k: f"{v:.3g}" for k, v in record.items() if k in _SHOWN}
            )
        if saves:
            save_checkpoint(checkpoints, step, engine.model, engine.optimizer)
    progress.close()
    if hasattr(batches, "close"):
        batches.close()
    return log.records


_SHOWN = ("loss", "psnr", "validation/psnr", "dynamics/top1", "latent_action/psnr")


def _mean(records, name: str) -> float:
    return float(np.mean([float(record[name]) for record in records]))


class _MetricsLog:
    """`metrics.jsonl` and TensorBoard event files of a workdir."""

    def __init__(self, workdir: Path, start: int):
        self._path = workdir / "metrics.jsonl"
        self.records = []
        if self._path.exists():
            lines = self._path.read_text().splitlines(keepends=True)
            # A kill may have cut the last line off. What came after the checkpoint is
            # about to be done again.
            records = [json.loads(line) for line in lines if line.endswith("\n")]
            self.records = [r for r in records if r["step"] <= start]
        with replacing(self._path) as path:
            path.write_text("".join(json.dumps(r) + "\n" for r in self.records))
        self._summaries = tf.summary.create_file_writer(str(workdir / "tensorboard"))

    def write(self, step: int, record: dict[str, float]):
        self.records.append({"step": step, **record})
        with self._path.open("a") as file:
            file.write(json.dumps(self.records[-1]) + "\n")
        with self._summaries.as_default(step):
            for name, value in record.items():
                tf.summary.scalar(name, value)
        self._summaries.flush()

    def pictures(self, step: int, batch, model):
        """Truth above what the model makes of it, one row pair a clip, four clips."""
        batch = {name: array[:4] for name, array in batch.items()}
        truth = batch["video"].astype("float32") / 255
        made = np.clip(model.reconstruct(batch), 0, 1)
        b, t, height, width, c = truth.shape
        pairs = np.stack([truth, made], axis=1)  # b 2 t height width c
        picture = pairs.transpose(0, 1, 3, 2, 4, 5).reshape(
            1, b * 2 * height, t * width, c
        )
        with self._summaries.as_default(step):
            tf.summary.image("reconstructions", picture)
