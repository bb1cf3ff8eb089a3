"""One word for `tf.function(jit_compile=True)` and `jax.jit`."""

from collections.abc import Callable

import keras


def compiled(function: Callable) -> Callable:
    """Compiles a function of tensors with XLA, on whichever backend Keras runs.

    Args:
        function: a pure function of tensors, which may read a model's weights.

    Returns:
        The same function, compiled anew for each set of shapes. On JAX, weights read
        are constants of the program.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
