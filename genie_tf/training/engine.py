"""Training steps on any devices: tf.distribute with XLA."""

import functools
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from genie_tf.training.optimizers import clip_by_global_norm

# See `compiled`.
_program = functools.partial(tf.function, autograph=False)


class TensorFlowEngine:
    """An `Engine` on the devices of a strategy.

    With one replica the whole step is one XLA program. With several, the forward and
    backward pass are one XLA program per replica; gradients, metrics and codebook
    statistics are then reduced over replicas. The result does not depend on the number
    of replicas, nor on `accumulate`.

    Args:
        make_model: builds the model, under the strategy's scope.
        make_optimizer: builds the optimizer of a model.
        clip_norm: largest global norm of the gradients; None for no limit.
        strategy: a `tf.distribute.Strategy`; the current one by default.
        accumulate: number of parts in which a replica processes its share of a batch, one
            after the other, to save memory.
    """

    def __init__(
        self,
        make_model: Callable[[], keras.Model],
        make_optimizer: Callable[[keras.Model], keras.optimizers.Optimizer],
        clip_norm: float | None = None,
        strategy: tf.distribute.Strategy | None = None,
        accumulate: int = 1,
    ):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        with self.strategy.scope():
            self.model = make_model()
            self.optimizer = make_optimizer(self.model)
        self.num_replicas = self.strategy.num_replicas_in_sync
        self.worker, self.num_workers = _place_among_workers(self.strategy)
        self.num_local_replicas = self.num_replicas // self.num_workers
        several = self.num_replicas > 1
        self._gradients = _program(self._replica_gradients, jit_compile=several)
        self._train = _program(self._train_batches, jit_compile=not several)
        self._eval = _program(self._eval_replicas, jit_compile=not several)

    def check_batch(self, size: int) -> None:
        parts = self.num_local_replicas * self.accumulate
        if size % parts:
            raise ValueError(
                f"A batch must split evenly over {self.num_local_replicas} replicas "
                f"and {self.accumulate} parts each; received {size} clips."
            )

    def train_steps(
        self, batches: Sequence[Mapping[str, np.ndarray]]
    ) -> dict[str, tf.Tensor]:
        stacked = {name: np.stack([b[name] for b in batches]) for name in batches[0]}
        return self._train(self._distribute(stacked, axis=1))

    def eval_step(self, batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        return self._eval(self._distribute(batch, axis=0))

    def any_worker(self, flag: bool) -> bool:
        if self.num_workers == 1:
            return flag
        flags = self.strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant(float(flag))
        )
        return float(self.strategy.reduce("sum", flags, axis=None)) > 0

    def _distribute(self, batch, axis: int):
        self.check_batch(next(iter(batch.values())).shape[axis])
        if self.num_replicas == 1:
            return {name: tf.convert_to_tensor(x) for name, x in batch.items()}

        shares = {
            name: np.split(array, self.num_local_replicas, axis)
            for name, array in batch.items()
        }
        first = self.worker * self.num_local_replicas

        def share(context):
            index = context.replica_id_in_sync_group - first
            return {name: tf.convert_to_tensor(x[index]) for name, x in shares.items()}

        return self.strategy.experimental_distribute_values_from_function(share)

    def _part_gradients(self, batch):
        with tf.GradientTape() as tape:
            metrics, codebook_stats = self.model.losses_and_metrics(batch)
        gradients = tape.gradient(
            metrics["loss"],
            self.model.trainable_variables,
        )
        # Embedding gradients are IndexedSlices.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return gradients, metrics, codebook_stats

    def _replica_gradients(self, batch):
        parts = {
            name: tf.reshape(x, (self.accumulate, -1, *x.shape[1:]))
            for name, x in batch.items()
        }

        def part(i):
            clips = {name: x[i] for name, x in parts.items()}
            gradients, metrics, codebook_stats = self._part_gradients(clips)
            return (gradients, metrics), codebook_stats

        sums, stacks = _repeat(part, self.accumulate)
        gradients, metrics = tf.nest.map_structure(lambda x: x / self.accumulate, sums)
        codebook_stats = {
            name: tf.reshape(x, (-1, *x.shape[2:])) for name, x in stacks.items()
        }
        return gradients, metrics, codebook_stats

    def _train_replica(self, batch):
        context = tf.distribute.get_replica_context()
        gradients, metrics, codebook_stats = self._gradients(batch)
        if self.num_replicas > 1:
            gradients, metrics = context.all_reduce("mean", (gradients, metrics))
            codebook_stats = self._gather(context, codebook_stats)
        gradients, norm = clip_by_global_norm(gradients, self.clip_norm)
        # Under a strategy, Keras sums gradients over replicas again.
        self.optimizer.apply([g / self.num_replicas for g in gradients])
        self.model.update_codebooks(codebook_stats)
        usage = self.model.codebook_metrics(codebook_stats)
        return {**metrics, **usage, "gradient_norm": norm}

    def _eval_replica(self, batch):
        metrics, codebook_stats = self.model.losses_and_metrics(batch)
        metrics |= self.model.validation_metrics(batch)
        if self.num_replicas > 1:
            context = tf.distribute.get_replica_context()
            codebook_stats = self._gather(context, codebook_stats)
        return {**metrics, **self.model.codebook_metrics(codebook_stats)}

    def _gather(self, context, tensors):
        """Concatenate the tensors of all replicas."""
        return {
            name: tf.ensure_shape(  # all_gather loses the static shape.
                context.all_gather(x, axis=0),
                (x.shape[0] * self.num_replicas, *x.shape[1:]),
            )
            for name, x in tensors.items()
        }

    def _train_batches(self, batches):
        share = self.strategy.experimental_local_results(batches)[0]
        number = next(iter(share.values())).shape[0]
        return _repeat(
            lambda i: ((), self._over_replicas(self._train_replica, batches, i)), number
        )[1]

    def _eval_replicas(self, batch):
        return self._over_replicas(self._eval_replica, batch)

    def _over_replicas(self, function, batches, index=None):
        """Call a function on every replica, with its batch or with batch `index`."""

        def run(batch):
            if index is not None:
                batch = {name: x[index] for name, x in batch.items()}
            return function(batch)

        if self.num_replicas == 1:
            return run(batches)
        metrics = self.strategy.run(run, args=(batches,))
        return {
            name: self.strategy.reduce("mean", value, axis=None)
            for name, value in metrics.items()
        }


def _place_among_workers(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the index of this worker, 0 for the chief, and the number of workers."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    tasks = resolver.cluster_spec().as_dict()
    chiefs = len(tasks.get("chief", ()))
    index = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
    return index, chiefs + len(tasks["worker"])


def _repeat(function: Callable, number: int):
    """Call `function(0)`, `function(1)`, ... in a loop within the program.

    Args:
        function: returns two structures of tensors.
        number: number of calls.

    Returns:
        The sum of the first structures, and the second ones stacked.
    """
    if number == 1:
        summed, stacked = function(0)
        return summed, tf.nest.map_structure(lambda x: x[None], stacked)
    index = tf.TensorSpec((), tf.int32)
    forms = _program(function).get_concrete_function(index).structured_outputs
    zeros = tf.nest.map_structure(lambda x: tf.zeros(x.shape, x.dtype), forms[0])
    empty = tf.nest.map_structure(
        lambda x: tf.TensorArray(x.dtype, number, element_shape=x.shape), forms[1]
    )

    def body(i, sums, arrays):
        summed, stacked = function(i)
        return (
            i + 1,
            tf.nest.map_structure(tf.add, sums, summed),
            tf.nest.map_structure(lambda array, x: array.write(i, x), arrays, stacked),
        )

    _, sums, arrays = tf.while_loop(
        lambda i, *_: i < number, body, (0, zeros, empty), maximum_iterations=number
    )
    return sums, tf.nest.map_structure(lambda array: array.stack(), arrays)
