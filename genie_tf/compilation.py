"""One interface to `tf.function(jit_compile=True)` and `jax.jit`."""

from collections.abc import Callable, Sequence

import keras


def compiled(function: Callable) -> Callable:
    """Compile a function of tensors with XLA, on the backend of Keras.

    Args:
        function: a pure function of tensors; it can read a model's weights.

    Returns:
        The function, compiled once for each set of shapes. On JAX, weights become
        constants of the program.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # AutoGraph would take half of the tracing time and has nothing to convert.
        return tf.function(function, jit_compile=True, autograph=False)
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def compiled_on_replicas(
    function: Callable, strategy=None
) -> Callable[[Sequence[dict]], Sequence]:
    """Compile a function of a dict of arrays, to run on all replicas in parallel.

    Args:
        function: see `compiled`.
        strategy: a `tf.distribute.Strategy` on one machine; None for one device.

    Returns:
        A function that maps a list of dicts, one per replica, to the list of results.
    """
    program = compiled(function)
    if num_replicas(strategy) == 1:
        return lambda inputs: [program(*inputs)]
    import tensorflow as tf

    # Passing `program` itself would merge all replicas into one program.
    def run_replica(share):
        return program(share)

    run = tf.function(lambda shares: strategy.run(run_replica, args=(shares,)))

    def call(inputs):
        def share(context):
            arrays = inputs[context.replica_id_in_sync_group]
            return {name: tf.convert_to_tensor(x) for name, x in arrays.items()}

        shares = strategy.experimental_distribute_values_from_function(share)
        return strategy.experimental_local_results(run(shares))

    return call


def num_replicas(strategy=None) -> int:
    """Return the number of replicas of a `tf.distribute.Strategy`; 1 for None."""
    return 1 if strategy is None else strategy.num_replicas_in_sync
