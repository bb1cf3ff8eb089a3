"""Checks of constructor arguments: they can come from a file and have any type."""

import math
import numbers
import reprlib

_LARGEST = 2**31 - 1  # Tokens and positions are int32.


def check_whole(least: int = 1, **arguments) -> None:
    """Raise a ValueError unless each argument is an integer, `least` or more."""
    for name, value in arguments.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or not least <= value <= _LARGEST:
            raise ValueError(
                f"`{name}` must be a whole number from {least} to {_LARGEST}; received "
                f"{reprlib.repr(value)}."
            )


def check_number(least: float = 0.0, **arguments) -> None:
    """Raise a ValueError unless each argument is a finite number, `least` or more."""
    for name, value in arguments.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not least <= value < math.inf:
            raise ValueError(
                f"`{name}` must be a number, {least:g} or more; received "
                f"{reprlib.repr(value)}."
            )


def is_share_range(value) -> bool:
    """Return whether a value is a pair of shares, the smaller one first."""
    numbers_only = isinstance(value, (tuple, list)) and all(
        type(share) in (int, float) for share in value
    )
    return numbers_only and len(value) == 2 and 0 <= value[0] <= value[1] <= 1


def check_flag(**arguments) -> None:
    """Raise a ValueError unless each argument is true or false."""
    for name, value in arguments.items():
        if not isinstance(value, bool):
            raise ValueError(
                f"`{name}` must be true or false; received {reprlib.repr(value)}."
            )


def check_choice(choices: tuple, **arguments) -> None:
    """Raise a ValueError unless each argument is one of `choices`."""
    for name, value in arguments.items():
        if value not in choices:
            raise ValueError(
                f"`{name}` must be one of {', '.join(map(str, choices))}; "
                f"received {reprlib.repr(value)}."
            )


def check_frame_shape(frame_shape) -> None:
    """Raise a ValueError unless `frame_shape` is (height, width, channels)."""
    if not isinstance(frame_shape, (tuple, list)) or len(frame_shape) != 3:
        raise ValueError(
            "`frame_shape` must be (height, width, channels); received "
            f"{reprlib.repr(frame_shape)}."
        )
    height, width, channels = frame_shape
    check_whole(height=height, width=width, channels=channels)
