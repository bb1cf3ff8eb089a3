"""Training step and evaluation as pure functions of the values of all variables."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import keras

from genie_tf.layers.stacked_blocks import blocks_in_loop
from genie_tf.training.optimizers import clip_by_global_norm


class JaxStep:
    """Programs that compute with given values instead of those of the variables.

    The variables may be without values, so that a step can be compiled without weights.

    Args:
        model: a built `TrainableModel`.
        optimizer: its built optimizer.
        clip_norm: largest global norm of the gradients; None for no limit.
        accumulate: number of parts in which a batch is processed.
        place: returns the `jax.sharding.Sharding` of a variable.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        clip_norm: float | None,
        accumulate: int,
        place: Callable,
    ):
        self.model = model
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
        )
        self.places = jax.tree.map(place, self.variables)
        # The arguments are the values of `variables`, and batches of shape (steps, parts,
        # clips, ...); the results are the new values and the metrics of each step.
        self.train = jax.jit(
            self._train_batches, donate_argnums=0, out_shardings=(self.places, None)
        )
        # The arguments are the values of the model's variables, and a batch.
        self.evaluate = jax.jit(self._eval_batch)

    def _train_batches(self, values, batches):
        return jax.lax.scan(self._train_step, values, batches)

    def _train_step(self, values, parts):
        trainable, fixed, slots = values

        def add_part(gradients, clips):
            (_, outputs), new = jax.value_and_grad(self._loss, has_aux=True)(
                trainable, fixed, clips
            )
            # Each device keeps only its share of the sum.
            new = jax.lax.with_sharding_constraint(new, self.places[0])
            return jax.tree.map(jnp.add, gradients, new), outputs

        zeros = jax.tree.map(jnp.zeros_like, trainable)
        gradients, (metrics, inputs) = jax.lax.scan(add_part, zeros, parts)
        gradients = [gradient / self.accumulate for gradient in gradients]
        metrics = {name: jnp.mean(x) for name, x in metrics.items()}
        inputs = {name: x.reshape(-1, *x.shape[2:]) for name, x in inputs.items()}

        gradients, norm = clip_by_global_norm(gradients, self.clip_norm)
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        with self._scope(trainable, fixed) as scope:
            self.model.update_codebooks(inputs)
            metrics |= self.model.codebook_metrics(inputs)
            trainable, fixed = (
                [scope.get_current_value(variable) for variable in variables]
                for variables in self.variables[:2]
            )
        return (trainable, fixed, slots), {**metrics, "gradient_norm": norm}

    def _loss(self, trainable, fixed, clips):
        with blocks_in_loop(), self._scope(trainable, fixed):
            metrics, codebook_stats = self.model.losses_and_metrics(clips)
        return metrics["loss"], (metrics, codebook_stats)

    def _eval_batch(self, values, batch):
        with blocks_in_loop(), self._scope(*values):
            metrics, codebook_stats = self.model.losses_and_metrics(batch)
            metrics |= self.model.validation_metrics(batch)
            return {**metrics, **self.model.codebook_metrics(codebook_stats)}

    def _scope(self, trainable, fixed):
        """Return a context in which the model reads and assigns these values."""
        return keras.StatelessScope(
            [
                *zip(self.variables[0], trainable, strict=True),
                *zip(self.variables[1], fixed, strict=True),
            ]
        )
