"""Discrete bottlenecks of models, by name."""

import reprlib

from genie_tf.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from genie_tf.layers.vector_quantizer import VectorQuantizer

_QUANTIZERS = {x.__name__: x for x in (VectorQuantizer, FiniteScalarQuantizer)}


def make_quantizer(num_codes: int, code_dim: int, arguments: dict | None = None):
    """Make the quantizer of a model.

    Args:
        num_codes: size of the codebook.
        code_dim: width of a code.
        arguments: `class_name` (by default that of `VectorQuantizer`), and the other
            arguments of that class.

    Raises:
        ValueError: if there is no such class.
    """
    arguments = dict(arguments or {})
    made = quantizer_class(arguments)
    arguments.pop("class_name", None)
    return made(num_codes, code_dim, **arguments)


def quantizer_class(arguments: dict) -> type:
    """Return the class that `make_quantizer` makes of these arguments.

    Raises:
        ValueError: if there is no such class.
    """
    name = arguments.get("class_name", VectorQuantizer.__name__)
    if name not in _QUANTIZERS:
        raise ValueError(
            f"There is no quantizer {reprlib.repr(name)}; genie_tf has "
            f"{', '.join(_QUANTIZERS)}."
        )
    return _QUANTIZERS[name]
