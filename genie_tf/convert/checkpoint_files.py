"""Reads checkpoints of other libraries as arrays by name, without running their code."""

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from genie_tf.files import local_path, open_regular


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the arrays of a checkpoint.

    Args:
        path: a folder of Orbax, or a file of PyTorch, safetensors or Flax (msgpack).

    Returns:
        Arrays by name. The names of nested dicts are joined by "/". Whatever is not an
        array, such as a step, is left out.

    Raises:
        ValueError: if there is no such checkpoint, it is damaged, it can be read only by
            running code from it, or the library that reads it is not installed.
    """
    place = local_path(path)
    if place.is_dir():
        return _flatten(_read_orbax(place))
    try:
        with open_regular(place) as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(
            f"Expected a checkpoint at {place}: {error.strerror}."
        ) from error
    if start[:2] == b"PK":
        return _flatten(_read_torch(place))
    if start[8:] == b"{":
        return _read_safetensors(place)
    if (
        start[:1] == b"\x80"
        and start[1:2] <= b"\x05"
        and place.suffix in (".pt", ".pth")
    ):
        raise ValueError(
            f"{place} is a pickle, which runs code when it is read: load it where you "
            "trust it, and save its state_dict with torch.save of PyTorch 1.6 or later."
        )
    return _flatten(_read_msgpack(place))


def _read_torch(path: Path):
    torch = _require("torch", "PyTorch files", "torch")
    with _damage(path, "PyTorch", RuntimeError, EOFError, OSError):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # By name: nothing here imports the module that could run code.
            if type(error).__name__ != "UnpicklingError":
                raise
            raise ValueError(
                f"{path} holds more than tensors and would run code when it is read, so it "
                "is refused: save only its state_dict."
            ) from error

    def to_numpy(value):
        if isinstance(value, Mapping):
            return {str(name): to_numpy(item) for name, item in value.items()}
        if not isinstance(value, torch.Tensor):
            return None
        return (value.float() if value.is_floating_point() else value).numpy()

    return to_numpy(content)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    safetensors = _require("safetensors", "safetensors files", "genie_tf[convert]")
    from safetensors.numpy import load_file

    with _damage(path, "safetensors", safetensors.SafetensorError, OSError):
        return load_file(path)


def _read_msgpack(path: Path):
    msgpack = _require("msgpack", "Flax files", "genie_tf[convert]")

    def array(code: int, data: bytes):
        if code not in (1, 3):  # An array, or a NumPy scalar.
            return None
        shape, dtype, content = msgpack.unpackb(data)
        return np.frombuffer(content, np.dtype(dtype)).reshape(shape)

    errors = (ValueError, TypeError, msgpack.UnpackException)
    with _damage(path, "Orbax, PyTorch, safetensors or Flax", *errors):
        content = msgpack.unpackb(
            path.read_bytes(), ext_hook=array, strict_map_key=False
        )
        if not isinstance(content, dict):
            raise ValueError("it holds no names")
    return content


def _read_orbax(path: Path):
    checkpoint = _require("orbax.checkpoint", "Orbax checkpoints", "genie_tf[convert]")
    import jax

    with _damage(path, "Orbax", Exception):
        reader = checkpoint.PyTreeCheckpointer()
        tree = reader.metadata(path.absolute())
        tree = getattr(tree, "item_metadata", tree)
        tree = getattr(tree, "tree", tree)
        as_arrays = jax.tree.map(
            lambda _: checkpoint.RestoreArgs(restore_type=np.ndarray), tree
        )
        return reader.restore(path.absolute(), restore_args=as_arrays)


def _flatten(tree) -> dict[str, np.ndarray]:
    """Return the arrays of nested dicts and lists by their joined names."""
    if isinstance(tree, np.ndarray):
        return {"": tree}
    if isinstance(tree, (list, tuple)):
        tree = dict(enumerate(tree))
    if not isinstance(tree, Mapping):
        return {}
    return {
        f"{name}/{below}" if below else str(name): array
        for name, item in tree.items()
        for below, array in _flatten(item).items()
    }


def _require(module: str, kind: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"Reading {kind} needs {module}: pip install {package}"
        ) from error


@contextlib.contextmanager
def _damage(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn errors of a reader into one sentence."""
    try:
        yield
    except errors as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} is not a complete checkpoint of {kind}: {reason[:200]}"
        ) from error
