"""Training steps on a mesh of JAX devices, with replicated or sharded weights."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import keras
import numpy as np

from genie_tf.training.optimizers import clip_by_global_norm
from genie_tf.training.sharding import Sharding


class JaxEngine:
    """An `Engine` on all JAX devices of this machine.

    Each call is one program, which XLA partitions like the batch and the weights (GSPMD,
    Xu et al. 2021). The result does not depend on the sharding.

    Args:
        make_model: builds the model.
        make_optimizer: builds the optimizer of a model.
        clip_norm: largest global norm of the gradients; None for no limit.
        sharding: sharding of weights and batches; by default each device has all weights
            and a share of the batch.
        accumulate: number of parts in which a batch is processed, one after the other, to
            save memory.
    """

    worker, num_workers = 0, 1

    def __init__(
        self,
        make_model: Callable[[], keras.Model],
        make_optimizer: Callable[[keras.Model], keras.optimizers.Optimizer],
        clip_norm: float | None = None,
        sharding: Sharding | None = None,
        accumulate: int = 1,
    ):
        self.sharding = sharding or Sharding({})
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        with self.sharding.scope():
            self.model = make_model()
            self.optimizer = make_optimizer(self.model)
        trainable = self.model.trainable_variables
        self._variables = (
            trainable,
            self.model.non_trainable_variables,
            self.optimizer.variables,
        )
        self._places = jax.tree.map(lambda x: x.value.sharding, self._variables)
        self._train = jax.jit(
            self._train_batches, donate_argnums=0, out_shardings=(self._places, None)
        )
        self._eval = jax.jit(self._eval_batch)

    def check_batch(self, size: int) -> None:
        shares = self.sharding.num_batch_shares
        if size % (shares * self.accumulate):
            raise ValueError(
                f"A batch must split evenly over data x fsdp = {shares} shares of the "
                f"mesh and {self.accumulate} parts each; received {size} clips."
            )

    def train_steps(
        self, batches: Sequence[Mapping[str, np.ndarray]]
    ) -> dict[str, jax.Array]:
        size = _size(batches[0])
        self.check_batch(size)
        parts = self.accumulate, size // self.accumulate
        stacked = {
            name: np.stack([b[name].reshape(*parts, *x.shape[1:]) for b in batches])
            for name, x in batches[0].items()
        }
        # On the devices where they are returned: otherwise JAX would compile twice.
        values = jax.device_put(
            jax.tree.map(lambda variable: variable.value, self._variables), self._places
        )
        with self.sharding.scope():
            values, metrics = self._train(
                values, jax.device_put(stacked, self.sharding.batch_layout(axis=2))
            )
        jax.tree.map(
            lambda variable, value: variable.assign(value), self._variables, values
        )
        return metrics

    def eval_step(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        self.check_batch(_size(batch))
        values = jax.tree.map(lambda variable: variable.value, self._variables[:2])
        with self.sharding.scope():
            return self._eval(
                values, jax.device_put(dict(batch), self.sharding.batch_layout())
            )

    def any_worker(self, flag: bool) -> bool:
        return flag

    def _train_batches(self, values, batches):
        return jax.lax.scan(self._train_step, values, batches)

    def _train_step(self, values, parts):
        trainable, fixed, slots = values

        def add_part(gradients, clips):
            (_, outputs), new = jax.value_and_grad(self._loss, has_aux=True)(
                trainable, fixed, clips
            )
            # Each device keeps only its share of the sum.
            new = jax.lax.with_sharding_constraint(new, self._places[0])
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
                for variables in self._variables[:2]
            )
        return (trainable, fixed, slots), {**metrics, "gradient_norm": norm}

    def _loss(self, trainable, fixed, clips):
        with self._scope(trainable, fixed):
            metrics, codebook_stats = self.model.losses_and_metrics(clips)
        return metrics["loss"], (metrics, codebook_stats)

    def _eval_batch(self, values, batch):
        with self._scope(*values):
            metrics, codebook_stats = self.model.losses_and_metrics(batch)
            metrics |= self.model.validation_metrics(batch)
            return {**metrics, **self.model.codebook_metrics(codebook_stats)}

    def _scope(self, trainable, fixed):
        """Return a context in which the model reads and assigns these values."""
        return keras.StatelessScope(
            [
                *zip(self._variables[0], trainable, strict=True),
                *zip(self._variables[1], fixed, strict=True),
            ]
        )


def _size(batch: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(batch.values())))
