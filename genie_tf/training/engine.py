"""One training step on whatever devices there are: tf.distribute with XLA."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from genie_tf.training.optimizers import clip_by_global_norm


class TensorFlowEngine:
    """Holds a model and its optimiser on a strategy's devices, and steps them.

    With one replica the whole step is one XLA program. With several, forward and
    backward pass are one XLA program a replica; gradients, metrics and what the
    codebooks learn from are then reduced over replicas, so that any number of
    replicas computes what one would.

    Args:
        make_model: makes the model, under the strategy's scope.
        make_optimizer: makes the built optimiser of a model.
        clip_norm: largest norm of all gradients together; None for no limit.
        strategy: a `tf.distribute.Strategy`; the current one by default.
    """

    def __init__(
        self,
        make_model: Callable[[], keras.Model],
        make_optimizer: Callable[[keras.Model], keras.optimizers.Optimizer],
        clip_norm: float | None = None,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.clip_norm = clip_norm
        with self.strategy.scope():
            self.model = make_model()
            self.optimizer = make_optimizer(self.model)
        self.num_replicas = self.strategy.num_replicas_in_sync
        several = self.num_replicas > 1
        self._gradients = tf.function(self._replica_gradients, jit_compile=several)
        self._train = tf.function(self._train_replicas, jit_compile=not several)
        self._eval = tf.function(self._eval_replicas, jit_compile=not several)

    def train_step(self, batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        """One step of the optimiser on a global batch.

        Args:
            batch: arrays with the global batch in front, a multiple of the replicas.

        Returns:
            Scalars, on the device still: reading one waits for the step.
        """
        return self._train(self._distribute(batch))

    def eval_step(self, batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        """The metrics of a global batch."""
        return self._eval(self._distribute(batch))

    def _distribute(self, batch):
        size = len(next(iter(batch.values())))
        if size % self.num_replicas:
            raise ValueError(
                f"The global batch must split evenly over {self.num_replicas} "
                f"replicas; received {size} clips."
            )
        share = size // self.num_replicas

        def part(context):
            start = context.replica_id_in_sync_group * share
            return {
                name: tf.convert_to_tensor(array[start : start + share])
                for name, array in batch.items()
            }

        if self.num_replicas == 1:
            return {name: tf.convert_to_tensor(x) for name, x in batch.items()}
        return self.strategy.experimental_distribute_values_from_function(part)

    def _replica_gradients(self, batch):
        with tf.GradientTape() as tape:
            metrics, codebook_inputs = self.model.losses_and_metrics(batch)
        gradients = tape.gradient(
            metrics["loss"],
            self.model.trainable_variables,
            # Queries and keys have no part in a window of one frame.
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return gradients, metrics, codebook_inputs

    def _train_replica(self, batch):
        context = tf.distribute.get_replica_context()
        gradients, metrics, codebook_inputs = self._gradients(batch)
        if self.num_replicas > 1:
            gradients, metrics = context.all_reduce("mean", (gradients, metrics))
            codebook_inputs = {
                name: self._gather(context, x) for name, x in codebook_inputs.items()
            }
        gradients, norm = clip_by_global_norm(gradients, self.clip_norm)
        # Under a strategy, Keras sums gradients over replicas once more.
        self.optimizer.apply([g / self.num_replicas for g in gradients])
        self.model.update_codebooks(codebook_inputs)
        return {**metrics, "gradient_norm": norm}

    def _gather(self, context, x):
        """What all replicas have, one after the other."""
        gathered = context.all_gather(x, axis=0)  # Which forgets how much that is.
        return tf.ensure_shape(gathered, (x.shape[0] * self.num_replicas, *x.shape[1:]))

    def _train_replicas(self, batch):
        return self._over_replicas(self._train_replica, batch)

    def _eval_replicas(self, batch):
        return self._over_replicas(
            lambda batch: self.model.losses_and_metrics(batch)[0], batch
        )

    def _over_replicas(self, function, batch):
        if self.num_replicas == 1:
            return function(batch)
        metrics = self.strategy.run(function, args=(batch,))
        return {
            name: self.strategy.reduce("mean", value, axis=None)
            for name, value in metrics.items()
        }
