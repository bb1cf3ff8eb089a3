"""Checkpoints from which training resumes; each is complete or absent.

A checkpoint is a folder such as `step_00000100` with `state.npz`, all variables of model
and optimizer and the metrics not logged yet; `model.json`, the settings of the model; and
`metrics.json`, the scores that decide whether it is kept. A separate thread writes it
under another name and renames it when complete. Checkpoints contain no code. Other files
in the folder are left alone.
"""

import json
import math
import re
import shutil
import threading
import zipfile
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
from absl import logging

from genie_tf.files import replacing_folder

# Files left behind by killed runs.
_LEFTOVER = re.compile(r"\.step_\d+\.(partial|replaced)|\.partial_\d+")


class Source(Protocol):
    """Source of batches with a state that the step does not determine."""

    def state(self) -> dict[str, np.ndarray]:
        """Return what `restore` needs."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a `state`.

        Raises:
            ValueError: if it belongs to a source with other settings.
        """


class Checkpoints:
    """Checkpoints of a training run.

    Leaving the context waits until the last one is written. After Ctrl-C it waits only
    briefly, then drops an unfinished one.

    Args:
        folder: folder of the checkpoints; need not exist.
        keep_last: number of newest checkpoints to keep.
        keep_every: also keep steps that are a multiple of this number; 0 for none.
        keep_best: also keep the best checkpoint by this metric of `save`; "" for none.
        best_is: "lowest" or "highest", the best value of that metric.

    Attributes:
        source: source of batches that checkpoints include; None if the step determines
            them.

    Example:
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            step, pending = checkpoints.restore(model, optimizer)
            checkpoints.save(step + 1, model, optimizer)
    """

    def __init__(
        self,
        folder: Path,
        keep_last: int = 2,
        keep_every: int = 0,
        keep_best: str = "",
        best_is: str = "lowest",
    ):
        if keep_last < 1:
            raise ValueError(f"keep_last must be 1 or more; is {keep_last}.")
        if best_is not in ("lowest", "highest"):
            raise ValueError(f"best_is must be lowest or highest; is {best_is!r}.")
        self.folder = folder
        self.keep_last = keep_last
        self.keep_every = keep_every
        self.keep_best = keep_best
        self.best_is = best_is
        self.source: Source | None = None
        self._damaged: list[Path] = []
        self._unscored: set[Path] = set()
        self._writer = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: futures.Future | None = None
        self._interrupted = threading.Event()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        if error is None:
            self.wait()
        elif issubclass(error, KeyboardInterrupt) and self._writing:
            futures.wait([self._writing], timeout=1)
            self._interrupted.set()
            futures.wait([self._writing], timeout=0.5)

    def save(
        self,
        step: int,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        pending: Mapping[str, np.ndarray] | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Start writing the checkpoint of a step; training can continue meanwhile.

        Args:
            step: number of steps done.
            model: the model.
            optimizer: its built optimizer, which counts the steps of the schedule.
            pending: metrics that have not been logged yet, by name.
            scores: metrics that can decide whether the checkpoint is kept.

        Raises:
            OSError: if the previous checkpoint could not be written.
        """
        self.wait()
        arrays = {
            **{f"model/{i}": x for i, x in enumerate(model.weights)},
            **{f"optimizer/{i}": x.value for i, x in enumerate(optimizer.variables)},
            **{f"pending/{name}": x for name, x in (pending or {}).items()},
        }
        if self.source:
            arrays |= {f"source/{k}": x for k, x in self.source.state().items()}
        # Copies, because training changes the variables.
        arrays = {name: np.array(x) for name, x in arrays.items()}
        texts = {
            "model.json": _arguments_json(model),
            "metrics.json": json.dumps(dict(scores or {})),
        }
        self._writing = self._writer.submit(self._write, step, arrays, texts)

    def wait(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            OSError: if it could not be written.
        """
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def latest_step(self) -> int:
        """Return the step of the newest undamaged checkpoint, or 0."""
        steps = [_parse_step(path) for path in self._all() if path not in self._damaged]
        return steps[-1] if steps else 0

    def restore(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Read the newest undamaged checkpoint into model, optimizer and source.

        Damaged checkpoints are skipped with a warning.

        Returns:
            The number of steps done, 0 without a checkpoint; and the pending metrics.

        Raises:
            ValueError: if the checkpoint belongs to a model or an optimizer with other
                settings, or all are damaged.
        """
        checkpoints = self._all()
        for checkpoint in reversed(checkpoints):
            try:
                pending, source = _read(checkpoint, model, optimizer)
            except _DamagedError as error:
                self._damaged.append(checkpoint)
                logging.warning("%s Trying the one before it.", error)
            else:
                if self.source:
                    self.source.restore(source)
                return _parse_step(checkpoint), pending
        if checkpoints:
            raise ValueError(
                f"All checkpoints in {self.folder} are damaged: remove them to start "
                "from scratch."
            )
        return 0, {}

    def _all(self) -> list[Path]:
        """Return the checkpoints in order of their steps."""
        if not self.folder.is_dir():
            return []
        named = [x for x in self.folder.iterdir() if re.fullmatch(r"step_\d+", x.name)]
        return sorted(
            (x for x in named if x.is_dir() and x == self._path(_parse_step(x))),
            key=_parse_step,
        )

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"

    def _write(self, step, arrays, texts) -> None:
        if self.folder.exists():
            for path in self.folder.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    _delete(path)
        with replacing_folder(self._path(step)) as partial:
            for name, text in texts.items():
                (partial / name).write_text(text)
            self._write_arrays(partial / "state.npz", arrays)
            while self._damaged:  # No other worker reads them any more.
                _delete(self._damaged.pop())
        for checkpoint in set(self._all()) - self._kept():
            _delete(checkpoint)

    def _write_arrays(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Do what `np.savez` does, but close the archive when the disk is full."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                if self._interrupted.is_set():
                    raise InterruptedError
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)

    def _kept(self) -> set[Path]:
        checkpoints = self._all()
        kept = set(checkpoints[-self.keep_last :])
        if self.keep_every:
            kept |= {x for x in checkpoints if _parse_step(x) % self.keep_every == 0}
        if self.keep_best:
            scores = {x: self._score(x) for x in checkpoints}
            scored = [x for x in checkpoints if scores[x] is not None]
            best = min if self.best_is == "lowest" else max
            if scored:
                kept.add(best(scored, key=scores.get))
        return kept

    def _score(self, checkpoint: Path) -> float | None:
        """Return the `keep_best` metric of a checkpoint; None if it was not evaluated."""
        path = checkpoint / "metrics.json"
        try:
            score = _read_object(path).get(self.keep_best)
            return score if score is None or math.isfinite(score) else None
        except (OSError, ValueError, TypeError, RecursionError):
            if checkpoint not in self._unscored:
                logging.warning(
                    "%s is damaged: its checkpoint cannot be the best.", path
                )
            self._unscored.add(checkpoint)
            return None


def flatten(settings, prefix: str = "") -> dict:
    """Return nested settings as one dict with keys such as "encoder.dim"."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    return {
        name: leaf
        for key, value in settings.items()
        for name, leaf in flatten(value, f"{prefix}.{key}" if prefix else key).items()
    }


class _DamagedError(Exception):
    """A checkpoint that cannot be read."""


def _read(checkpoint: Path, model, optimizer) -> tuple[dict, dict]:
    """Assign all variables of a checkpoint; return pending metrics and source."""
    try:
        saved = flatten(_read_object(checkpoint / "model.json"))
        with np.load(_regular(checkpoint / "state.npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # Damaged bytes can raise anything.
        raise _DamagedError(f"The checkpoint {checkpoint} is damaged.") from error
    difference = _difference(saved, flatten(json.loads(_arguments_json(model))))
    variables = {
        **{f"model/{i}": variable for i, variable in enumerate(model.weights)},
        **{f"optimizer/{i}": x for i, x in enumerate(optimizer.variables)},
    }
    pending, source = (_pop_group(arrays, name) for name in ("pending", "source"))
    if {n: x.shape for n, x in arrays.items()} != {
        name: tuple(variable.shape) for name, variable in variables.items()
    }:
        difference = difference or "another optimizer than the config asks for"
    if difference:
        raise ValueError(
            f"The checkpoint {checkpoint} is of {difference}: continue with its original "
            "settings, or start in another --workdir."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return pending, source


def _pop_group(arrays: dict, group: str) -> dict[str, np.ndarray]:
    """Remove the arrays whose names begin with a group; return them by their names."""
    names = [name for name in arrays if name.startswith(f"{group}/")]
    return {name.partition("/")[2]: arrays.pop(name) for name in names}


def _read_object(path: Path) -> dict:
    """Return the object in a JSON file.

    Raises:
        OSError, ValueError, RecursionError: if it does not hold an object.
    """
    value = json.loads(_regular(path).read_text())
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold an object.")
    return value


def _regular(path: Path) -> Path:
    """Return the path of a regular file; reading a pipe or a device might never end."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if path.exists():
        logging.warning("%s cannot be deleted.", path)


def _parse_step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def _arguments_json(model: keras.Model) -> str:
    return json.dumps(model.arguments(), indent=1)


def _difference(saved: dict, requested: dict) -> str:
    """Return the first setting in which two models differ, in words; "" if none."""
    for name in saved | requested:
        if saved.get(name) != requested.get(name):
            return (
                f"a model with {name}={saved.get(name)}, where the config asks for "
                f"{requested.get(name)}"
            )
    return ""
