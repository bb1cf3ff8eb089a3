"""What a training will need, found out without allocating its weights."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras


def without_weights(make_model: Callable[[], keras.Model]) -> keras.Model:
    """A model whose variables have shapes and dtypes, and no values.

    Args:
        make_model: returns the model, built. It runs in a thread of its own, so it sets
            the dtype policy itself, if it is to have another than Keras's default.
    """

    def make():
        with keras.StatelessScope(initialize_variables=False):
            return make_model()

    # Keras remembers the variables that have no values yet, and would give them some at
    # the end of the next such scope; of this thread, it forgets them.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()


def count_parameters(make_model: Callable[[], keras.Model]) -> dict[str, int]:
    """Numbers in all weights of each part of a model, without memory for any.

    Args:
        make_model: as of `without_weights`.

    Returns:
        A dict from the name of each model that this one is made of, such as the
        `dynamics` of a Genie, to its number of parameters; of the model itself, if it
        is not made of others.
    """
    model = without_weights(make_model)
    parts = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return {part.name: part.count_params() for part in parts or [model]}
