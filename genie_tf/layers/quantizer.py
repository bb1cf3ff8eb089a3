"""Which discrete bottleneck a model has."""

from genie_tf.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from genie_tf.layers.vector_quantizer import VectorQuantizer


def make_quantizer(num_codes: int, code_dim: int, arguments: dict | None = None):
    """Makes the quantizer of a model.

    Args:
        num_codes: size of the codebook.
        code_dim: width of a code.
        arguments: `levels` for a `FiniteScalarQuantizer`; else the others of
            `VectorQuantizer`.
    """
    arguments = arguments or {}
    return quantizer_class(arguments)(num_codes, code_dim, **arguments)


def quantizer_class(arguments: dict) -> type:
    """Returns the class that `make_quantizer` makes of these arguments."""
    return FiniteScalarQuantizer if "levels" in arguments else VectorQuantizer
