"""Builds models without allocating their weights, to read their shapes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras

from genie_tf.forks import runs_nothing


def without_weights(make_model: Callable[[], keras.Model]) -> keras.Model:
    """Return a model whose variables have shapes and dtypes, but no values.

    Args:
        make_model: returns the built model. It runs in its own thread, so it must set the
            dtype policy itself if the model needs one other than Keras's default.
    """

    def make():
        with runs_nothing(), keras.StatelessScope(initialize_variables=False):
            return make_model()

    # Keras keeps a list, per thread, of variables without values, and would initialize
    # them at the end of the next such scope. This thread's list ends with it.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()
