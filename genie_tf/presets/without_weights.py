"""Models without memory for their weights, to see their shapes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras

from genie_tf.forks import runs_nothing


def without_weights(make_model: Callable[[], keras.Model]) -> keras.Model:
    """Return a model whose variables have shapes and dtypes, and no values.

    Args:
        make_model: returns the model, built. It runs in a thread of its own, so it sets
            the dtype policy itself, if it is to have another than Keras's default.
    """

    def make():
        with runs_nothing(), keras.StatelessScope(initialize_variables=False):
            return make_model()

    # Keras remembers the variables that have no values yet, and would give them some at
    # the end of the next such scope; of this thread, it forgets them.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()
