"""Quantizers by class name."""

import reprlib

from genie_tf.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from genie_tf.layers.vector_quantizer import VectorQuantizer

_QUANTIZERS = {x.__name__: x for x in (VectorQuantizer, FiniteScalarQuantizer)}


def make_quantizer(num_codes: int, code_dim: int, arguments: dict | None = None):
    """Make a quantizer.

    Args:
        num_codes: size of the codebook.
        code_dim: width of a code.
        arguments: `class_name` (default `VectorQuantizer`) and further arguments of
            that class.

    Raises:
        ValueError: if the class is unknown.

    Example:

    ```python
    quantizer = make_quantizer(
        15, 2, {"class_name": "FiniteScalarQuantizer", "levels": (3, 5)}
    )
    ```
    """
    arguments = dict(arguments or {})
    make = quantizer_class(arguments)
    arguments.pop("class_name", None)
    return make(num_codes, code_dim, **arguments)


def quantizer_class(arguments: dict) -> type:
    """Return the class that `make_quantizer` uses for these arguments.

    Raises:
        ValueError: if the class is unknown.
    """
    name = arguments.get("class_name", VectorQuantizer.__name__)
    if name not in _QUANTIZERS:
        raise ValueError(
            f"There is no quantizer {reprlib.repr(name)}; genie_tf has "
            f"{', '.join(_QUANTIZERS)}."
        )
    return _QUANTIZERS[name]
