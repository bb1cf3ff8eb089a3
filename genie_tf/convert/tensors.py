"""Arrays of a checkpoint by name, with a record of those that were used."""

from collections.abc import Callable, Mapping

import numpy as np
from keras import ops

_SHOWN = 5  # Names in an error.


class Tensors:
    """Arrays of a checkpoint below a prefix, each to be loaded into a weight.

    Args:
        arrays: arrays by name.
        prefix: start of the names.

    Example:

    ```python
    tensors = Tensors(read_checkpoint("model"), "params/")
    tensors.load(layer.kernel, "Dense_0/kernel")
    tensors.check_all_used()
    ```
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], prefix: str = ""):
        self._arrays = arrays
        self._prefix = prefix
        self._used: set[str] = set()

    def below(self, prefix: str) -> "Tensors":
        """Return the arrays below a longer prefix; the record is shared."""
        below = Tensors(self._arrays, self._prefix + prefix)
        below._used = self._used
        return below

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._arrays

    def count(self, pattern: str) -> int:
        """Return how many of the names pattern.format(0), pattern.format(1), ... exist."""
        number = 0
        while pattern.format(number) in self:
            number += 1
        return number

    def take(self, name: str) -> np.ndarray:
        """Return an array, and record it as used.

        Raises:
            ValueError: if there is no such array.
        """
        name = self._prefix + name
        if name not in self._arrays:
            raise ValueError(f"The checkpoint has no tensor {name!r}.")
        self._used.add(name)
        return self._arrays[name]

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """Return the shape of an array, which must have `rank` axes.

        Raises:
            ValueError: if there is no such array, or it has another rank.
        """
        shape = self.take(name).shape
        if len(shape) != rank:
            raise ValueError(
                f"The checkpoint's tensor {self._prefix + name!r} must have {rank} axes; "
                f"its shape is {shape}."
            )
        return shape

    def load(self, variable, name: str, change: Callable = np.asarray) -> None:
        """Assign an array to a variable.

        Args:
            variable: a Keras variable.
            name: name of the array.
            change: function from the array to the value of the variable.

        Raises:
            ValueError: if there is no such array, or it does not fit.
        """
        value = self.take(name)
        try:
            value = change(value)
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"The checkpoint's tensor {self._prefix + name!r} of shape {value.shape} "
                f"does not fit: {error}."
            ) from error
        assign(variable, value, self._prefix + name)

    def check_all_used(self) -> None:
        """Raise a ValueError if arrays below the prefix were not used."""
        extra = sorted(
            name
            for name in self._arrays
            if name.startswith(self._prefix) and name not in self._used
        )
        if extra:
            more = f" and {len(extra) - _SHOWN} more" if len(extra) > _SHOWN else ""
            raise ValueError(
                "The checkpoint has tensors that this model does not: "
                f"{', '.join(extra[:_SHOWN])}{more}."
            )


def assign(variable, value: np.ndarray, name: str) -> None:
    """Assign an array to a Keras variable.

    Raises:
        ValueError: if the shapes differ or the array has NaN or infinity.
    """
    if tuple(value.shape) != tuple(variable.shape):
        raise ValueError(
            f"Expected shape {tuple(variable.shape)} for {variable.path}; the "
            f"checkpoint's tensor {name!r} gives {tuple(value.shape)}."
        )
    if not np.isfinite(value).all():
        raise ValueError(f"The checkpoint's tensor {name!r} has NaN or infinity.")
    variable.assign(ops.cast(value, variable.dtype))


def pack_heads(*parts: np.ndarray) -> np.ndarray:
    """Return parts (..., heads, width) as (..., heads * all widths), head by head."""
    packed = np.concatenate(parts, axis=-1)
    return packed.reshape(*packed.shape[:-2], -1)
