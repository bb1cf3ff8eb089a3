"""What the apps share: how they start, and how they say that input is wrong."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


class UserError(Exception):
    """Wrong input, described in one sentence: what was expected and what came."""


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns errors of what is done inside into a `UserError`.

    Put around reading what a user named: what the library raises there is already one
    clear sentence. Never around training or sampling, where an error is a bug.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def run(main: Callable[[], None]) -> None:
    """Parses flags and calls `main`; wrong input ends with a sentence and exit code 2.

    Args:
        main: reads absl's flags.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from absl import app, flags

    def parse(argv):
        try:
            return flags.FLAGS(argv)
        except (flags.Error, OSError, ValueError, AttributeError, KeyError) as error:
            _fail(str(error))

    def guarded(argv):
        if len(argv) > 1:
            _fail(f"expected flags alone; received {' '.join(argv[1:])}")
        try:
            main()
        except UserError as error:
            _fail(str(error))

    app.run(guarded, flags_parser=parse)


def make_folder(path: str) -> Path:
    """Creates a folder to write in, if need be.

    Raises:
        UserError: if it cannot be created or written in.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"cannot write in the folder {path}: choose another")
    return folder


def _fail(message: str) -> None:
    name = os.path.basename(sys.argv[0])
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
