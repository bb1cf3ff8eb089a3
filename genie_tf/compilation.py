"""One word for `tf.function(jit_compile=True)` and `jax.jit`, also on many devices."""

from collections.abc import Callable, Sequence

import keras


def compiled(function: Callable) -> Callable:
    """Compile a function of tensors with XLA, on whichever backend Keras runs.

    Args:
        function: a pure function of tensors, which may read a model's weights.

    Returns:
        The same function, compiled anew for each set of shapes. On JAX, weights read
        are constants of the program.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # AutoGraph would take half the time of tracing, and finds nothing to convert.
        return tf.function(function, jit_compile=True, autograph=False)
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def compiled_on_replicas(
    function: Callable, strategy=None
) -> Callable[[Sequence[dict]], Sequence]:
    """Compile a function of a dict of arrays, to run on all replicas at once.

    Args:
        function: as of `compiled`.
        strategy: a `tf.distribute.Strategy` of one machine; None for one device.

    Returns:
        A function of a list of dicts, one for each replica, to the list of what
        `function` returns for each.
    """
    program = compiled(function)
    if num_replicas(strategy) == 1:
        return lambda inputs: [program(*inputs)]
    import tensorflow as tf

    def own(share):  # Were it `program`, all replicas would be one program.
        return program(share)

    run = tf.function(lambda shares: strategy.run(own, args=(shares,)))

    def call(inputs):
        def share(context):
            chosen = inputs[context.replica_id_in_sync_group]
            return {name: tf.convert_to_tensor(x) for name, x in chosen.items()}

        shares = strategy.experimental_distribute_values_from_function(share)
        return strategy.experimental_local_results(run(shares))

    return call


def num_replicas(strategy=None) -> int:
    """How many replicas a `tf.distribute.Strategy` has; of None, one."""
    return 1 if strategy is None else strategy.num_replicas_in_sync
