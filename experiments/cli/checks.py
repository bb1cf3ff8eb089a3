"""Check what a user gave before the work begins, without importing Keras or TensorFlow."""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from genie_tf.files import local_path
from genie_tf.presets.folder import read_config

# What the programs can do with the settings of Keras.
_KERAS_SETTINGS = {
    "backend": ("tensorflow", "jax"),
    "floatx": ("float32",),
    "image_data_format": ("channels_last",),
}


class UserError(Exception):
    """Wrong input, described in one sentence: what was expected and what came."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn errors of what is done inside into a `UserError`.

    Put around reading what a user named: what the library raises there is already one
    clear sentence. Never around training or sampling, where an error is a bug.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def check_installed(module: str, need: str, extra: str) -> None:
    """Look for a module that not every installation has.

    Args:
        module: its name.
        need: what needs it, the beginning of the sentence.
        extra: of genie_tf, that installs it, in brackets; "" if its base does.

    Raises:
        UserError: if it is not installed.
    """
    if not importlib.util.find_spec(module):
        raise UserError(f"{need}: pip install genie_tf{extra}")


def check_preset(preset: str | os.PathLike) -> None:
    """Check that a preset exists, without importing Keras.

    Raises:
        UserError: if it does not.
    """
    with user_errors():
        read_config(preset)


def check_folder(path: str | os.PathLike) -> Path:
    """Check a folder to write in later, which need not exist yet.

    Raises:
        UserError: if it cannot be created or written in.
    """
    with user_errors():
        folder = local_path(path)
        existing = next(x for x in (folder, *folder.absolute().parents) if x.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write in the folder {path}: choose another")
    return folder


def make_folder(path: str | os.PathLike) -> Path:
    """Create a folder to write in, if need be.

    Raises:
        UserError: if it cannot be created or written in.
    """
    folder = check_folder(path)
    with user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_frames(expected: tuple[int, ...], video, dataset: str) -> None:
    """Compare the frames a model is for with those of a dataset.

    Raises:
        UserError: if they differ.
    """
    if tuple(video.shape[2:]) != tuple(expected):
        raise UserError(
            f"the model is for frames of {tuple(expected)}; {dataset} has frames of "
            f"{tuple(video.shape[2:])}"
        )


def import_keras() -> None:
    """Import Keras without libraries that it would import for parts not used here.

    They take a quarter of the time.

    Raises:
        UserError: if its settings are of no use, such as a backend that is not installed.
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
    """Check the settings of Keras, before it is imported.

    Raises:
        UserError: if the environment or keras.json asks for something that the programs
            don't work with, such as a backend that is not installed.
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
                f"{file} must hold the settings of Keras as JSON, or be deleted: {error}"
            ) from error
    where = dict.fromkeys(settings, str(file))
    if os.environ.get("KERAS_BACKEND"):
        settings["backend"] = os.environ["KERAS_BACKEND"]
        where["backend"] = "the environment variable KERAS_BACKEND"
    for name, choices in _KERAS_SETTINGS.items():
        if name in settings and settings[name] not in choices:
            raise UserError(
                f"the {name} of Keras must be {' or '.join(choices)}; {where[name]} says "
                f"{settings[name]!r}"
            )
    if not isinstance(settings.get("epsilon", 1e-7), float):
        raise UserError(f"the epsilon of Keras in {file} must be a number such as 1e-7")
    backend = settings.get("backend", "tensorflow")
    said = where.get("backend", "the default of Keras")
    extra = "[jax]" if backend == "jax" else ""
    check_installed(backend, f"{said} asks for {backend}, which is missing", extra)
