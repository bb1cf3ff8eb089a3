"""Checks of user input that need neither Keras nor TensorFlow."""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from genie_tf.files import local_path
from genie_tf.presets.folder import read_config

# Keras settings that the programs support.
_KERAS_SETTINGS = {
    "backend": ("tensorflow", "jax"),
    "floatx": ("float32",),
    "image_data_format": ("channels_last",),
}


class UserError(Exception):
    """Invalid input, described in one sentence: what was expected and what came."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn a ValueError or OSError of the block into a `UserError`.

    Wrap code that reads user input: the library's errors there are already one clear
    sentence. Never wrap training or sampling, where an error is a bug.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def check_installed(module: str, need: str, extra: str) -> None:
    """Check that an optional module is installed.

    Args:
        module: name of the module.
        need: start of the error: what needs the module.
        extra: extra of genie_tf that installs it, in brackets; "" if the base does.

    Raises:
        UserError: if it is not installed.
    """
    if not importlib.util.find_spec(module):
        raise UserError(f"{need}: pip install genie_tf{extra}")


def check_preset(preset: str | os.PathLike) -> None:
    """Check that a preset exists, without importing Keras.

    Raises:
        UserError: if it does not exist.
    """
    with user_errors():
        read_config(preset)


def check_folder(path: str | os.PathLike) -> Path:
    """Check that a folder, which need not exist yet, can be written to later.

    Raises:
        UserError: if it cannot be created or written to.
    """
    with user_errors():
        folder = local_path(path)
        existing = next(x for x in (folder, *folder.absolute().parents) if x.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to the folder {path}: choose another")
    return folder


def make_folder(path: str | os.PathLike) -> Path:
    """Create an output folder unless it exists.

    Raises:
        UserError: if it cannot be created or written to.
    """
    folder = check_folder(path)
    with user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_frames(expected: tuple[int, ...], video, dataset: str) -> None:
    """Check that a dataset's frames have the shape a model expects.

    Args:
        expected: (height, width, channels) of the model.
        video: clips of the dataset, (batch, time, height, width, channels).
        dataset: name of the dataset, for the error.

    Raises:
        UserError: if the shapes differ.
    """
    if tuple(video.shape[2:]) != tuple(expected):
        raise UserError(
            f"the model expects frames of {tuple(expected)}; {dataset} has frames of "
            f"{tuple(video.shape[2:])}"
        )


def import_keras() -> None:
    """Import Keras without matplotlib and scikit-learn, a quarter of the import time.

    Raises:
        UserError: if the programs do not support Keras's settings, or its backend is
            not installed.
    """
    _check_backend()
    hidden = {"matplotlib", "sklearn"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def _check_backend() -> None:
    """Check the settings of Keras before it is imported.

    Raises:
        UserError: if the environment or keras.json has an unsupported setting or names
            a backend that is not installed.
    """
    home = os.path.expanduser("~")
    home = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    file = Path(os.environ.get("KERAS_HOME", home), "keras.json")
    settings = {}
    if file.exists():
        try:
            settings = dict(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{file} must contain Keras settings as JSON; fix or delete it: {error}"
            ) from error
    sources = dict.fromkeys(settings, str(file))
    if os.environ.get("KERAS_BACKEND"):
        settings["backend"] = os.environ["KERAS_BACKEND"]
        sources["backend"] = "the environment variable KERAS_BACKEND"
    for name, choices in _KERAS_SETTINGS.items():
        if name in settings and settings[name] not in choices:
            raise UserError(
                f"the {name} of Keras must be {' or '.join(choices)}; {sources[name]} says "
                f"{settings[name]!r}"
            )
    if not isinstance(settings.get("epsilon", 1e-7), float):
        raise UserError(f"the epsilon of Keras in {file} must be a number such as 1e-7")
    backend = settings.get("backend", "tensorflow")
    source = sources.get("backend", "the default of Keras")
    extra = "[jax]" if backend == "jax" else ""
    check_installed(
        backend, f"{source} asks for {backend}, which is not installed", extra
    )
