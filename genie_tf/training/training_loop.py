"""The training loop of all stages."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import numpy as np
from absl import logging
from tqdm import tqdm

from genie_tf.files import replacing
from genie_tf.pixels import to_bytes
from genie_tf.training.checkpoints import Checkpoints
from genie_tf.training.event_file import EventFile
from genie_tf.training.optimizers import averaged_weights

_PROGRESS_METRICS = (
    "loss",
    "psnr",
    "validation/psnr",
    "dynamics/top1",
    "latent_action/psnr",
    "episode_return",
)


class Engine(Protocol):
    """A model and its optimizer on some devices, with training and evaluation steps.

    Attributes:
        model: a tokenizer, a latent action model or a Genie.
        optimizer: its built optimizer.
        worker: index of this worker; 0 for the chief.
        num_workers: number of workers.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    worker: int
    num_workers: int

    def check_batch(self, size: int) -> None:
        """Raise a ValueError if this worker's share of a batch cannot be split."""

    def train_steps(self, batches: Sequence[Mapping[str, np.ndarray]]) -> dict:
        """Do one optimizer step per batch, without returning to the host in between.

        Args:
            batches: this worker's shares of global batches, dicts of arrays with the
                batch as first axis.

        Returns:
            Metrics, each (batches,), still on the device: reading one waits for the steps.

        Raises:
            ValueError: if a batch does not split evenly over the devices.
        """

    def eval_step(self, batch: Mapping[str, np.ndarray]) -> dict:
        """Return the metrics of this worker's share of a global batch."""

    def any_worker(self, flag: bool) -> bool:
        """Return whether the flag is true on any worker; all workers must call this."""


class Intervals(NamedTuple):
    """Intervals of the training loop, in steps.

    Attributes:
        log, evaluate, checkpoint: multiples of `call`. All three also happen at the last
            step, and evaluations are always logged.
        call: steps per call of the devices.
    """

    log: int
    evaluate: int
    checkpoint: int
    call: int = 1


def train(
    engine: Engine,
    batches: Iterator[Mapping[str, np.ndarray]],
    batch_at: Callable[[int], Mapping[str, np.ndarray]],
    *,
    checkpoints: Checkpoints,
    start: int,
    pending: Mapping[str, np.ndarray],
    steps: int,
    workdir: Path,
    every: Intervals,
    validate: Callable[[], tuple[dict[str, float], np.ndarray | None]],
    description: str,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[int, list[dict]]:
    """Train from step `start` until `steps` are done.

    Write to `workdir`: `metrics.jsonl`, one line per log with the step, the means over the
    steps since the last log, and metrics of `validate` as `validation/...`;
    and, for TensorBoard, the same curves and images. Only the chief writes.

    Args:
        engine: model and optimizer on their devices.
        batches: endless batches from `start` on; closed at the end.
        batch_at: returns the batch after a number of steps.
        checkpoints: checkpoints of the run.
        start, pending: results of `Checkpoints.restore`.
        steps: total number of steps.
        workdir: existing output folder.
        every: intervals of logs, evaluations and checkpoints.
        validate: evaluates the model, with the averaged weights if any; returns metrics,
            and an image for TensorBoard or None. See `ClipValidation`.
        description: label of the progress bar.
        stop: called after each call; returns whether to save and stop. Several workers
            share their answers when they log.

    Returns:
        The number of steps done, and the records of `metrics.jsonl`.

    Raises:
        FloatingPointError: if a metric is not finite; its batch is written to `workdir`.
        OSError: if something cannot be written.
    """
    writes = engine.worker == 0
    log = _MetricsLog(workdir, start) if writes else None
    since = [pending] if pending else []
    clock, done, stopped = time.perf_counter(), 0, False
    step = start
    with (
        checkpoints,
        contextlib.closing(batches),
        tqdm(
            total=steps,
            initial=start,
            desc=description,
            unit="step",
            dynamic_ncols=True,
            disable=not writes,
        ) as progress,
    ):
        while step < steps and not stopped:
            number = min(every.call - step % every.call, steps - step)
            since.append(engine.train_steps([next(batches) for _ in range(number)]))
            step, done = step + number, done + number
            progress.update(number)
            saves, evaluates, logs = (
                step % interval == 0 or step == steps
                for interval in (every.checkpoint, every.evaluate, every.log)
            )
            logs |= evaluates
            if engine.num_workers == 1 or logs:
                stopped = engine.any_worker(stop())
            if not (saves or logs or stopped):
                continue
            values = _concatenate(since)
            since = [values]
            _check_finite(
                values, step, batch_at, checkpoints, workdir if writes else None
            )
            record = {}
            if logs:
                record = {name: float(np.mean(value)) for name, value in values.items()}
                now = time.perf_counter()
                record["steps_per_second"] = done / (now - clock)
                since, clock, done = [], now, 0
            if evaluates:
                with averaged_weights(engine.model, engine.optimizer):
                    scores, image = validate()
                record |= {f"validation/{name}": x for name, x in scores.items()}
                if writes and image is not None:
                    log.image(step, image)
            if logs and writes:
                log.write(step, record)
                progress.set_postfix(
                    {k: f"{v:.3g}" for k, v in record.items() if k in _PROGRESS_METRICS}
                )
            if (saves or stopped) and writes:
                checkpoints.save(
                    step,
                    engine.model,
                    engine.optimizer,
                    since[0] if since else {},
                    record,
                )
    return step, log.records if writes else []


class ClipValidation:
    """Evaluation of an engine's model on batches of clips.

    Calling it returns the mean of each metric over the batches; and an image of four
    clips as pairs of rows: ground truth above reconstruction.
    """

    def __init__(self, engine: Engine, batches: Sequence[Mapping[str, np.ndarray]]):
        self._engine = engine
        self._batches = batches

    def __call__(self) -> tuple[dict[str, float], np.ndarray | None]:
        scores = [self._engine.eval_step(batch) for batch in self._batches]
        means = {
            name: float(np.mean([float(score[name]) for score in scores]))
            for name in scores[0]
        }
        # Only the chief writes the image.
        return means, self._show() if self._engine.worker == 0 else None

    def _show(self) -> np.ndarray:
        batch = {name: array[:4] for name, array in self._batches[0].items()}
        reconstruction = to_bytes(self._engine.model.reconstruct(batch))
        b, t, height, width, c = reconstruction.shape
        pairs = np.stack([batch["video"], reconstruction], axis=1)
        # b 2 t height width c
        return pairs.transpose(0, 1, 3, 2, 4, 5).reshape(b * 2 * height, t * width, c)


@contextlib.contextmanager
def sigterm_caught() -> Iterator[Callable[[], bool]]:
    """Ignore SIGTERM within the context; yield a function that says if it has come."""
    caught = []
    previous = signal.signal(signal.SIGTERM, lambda *_: caught.append(True))
    try:
        yield lambda: bool(caught)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _concatenate(parts: list[Mapping]) -> dict[str, np.ndarray]:
    """Return the metrics of all steps, in order."""
    return {
        name: np.concatenate([np.asarray(part[name]) for part in parts])
        for name in parts[0]
    }


def _check_finite(values, step, batch_at, checkpoints, folder: Path | None) -> None:
    """Raise a FloatingPointError for the first step with a metric that is not finite."""
    finite = {name: np.isfinite(value) for name, value in values.items()}
    good = np.all(list(finite.values()), axis=0)
    if good.all():
        return
    index = int(np.argmin(good))
    bad_step = step - len(good) + index + 1
    terms = [name for name in finite if not finite[name][index]]
    checkpoints.wait()
    message = (
        f"Not finite at step {bad_step}: {', '.join(terms)}; the last checkpoint is from "
        f"step {checkpoints.latest_step()}"
    )
    if folder:
        path = folder / f"not_finite_step_{bad_step:08d}.npz"
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **batch_at(bad_step - 1))
        message += f", and the batch is in {path}"
    raise FloatingPointError(f"{message}.")


def _read_records(path: Path) -> list[dict]:
    """Return the complete lines of a `metrics.jsonl`."""
    records = []
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if type(record["step"]) is not int:
                raise ValueError("It has no step.")
            records.append(record)
        except (ValueError, TypeError, KeyError, RecursionError):
            # A killed run can leave half a last line.
            if number < len(lines):
                logging.warning("Line %d of %s is damaged and skipped.", number, path)
    return records


class _MetricsLog:
    """`metrics.jsonl` and TensorBoard event files of a workdir."""

    def __init__(self, workdir: Path, start: int):
        self._path = workdir / "metrics.jsonl"
        # Steps after the checkpoint are about to be repeated.
        self.records = [r for r in _read_records(self._path) if r["step"] <= start]
        with replacing(self._path) as path:
            path.write_text("".join(json.dumps(r) + "\n" for r in self.records))
        self._events = EventFile(workdir / "tensorboard", start)

    def write(self, step: int, record: dict[str, float]) -> None:
        self.records.append({"step": step, **record})
        with self._path.open("a") as file:
            file.write(json.dumps(self.records[-1]) + "\n")
        self._events.scalars(step, record)

    def image(self, step: int, image: np.ndarray) -> None:
        self._events.image(step, "reconstructions", image)
