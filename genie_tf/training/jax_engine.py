"""Training steps on a mesh of JAX devices, with replicated or sharded weights."""

from collections.abc import Callable, Mapping, Sequence

import jax
import keras
import numpy as np

from genie_tf.training.jax_step import JaxStep
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
        self.accumulate = accumulate
        with self.sharding.scope():
            self.model = make_model()
            self.optimizer = make_optimizer(self.model)
        self._step = JaxStep(
            self.model,
            self.optimizer,
            clip_norm,
            accumulate,
            lambda variable: variable.value.sharding,
        )
        self._variables = self._step.variables
        self._train, self._eval = self._step.train, self._step.evaluate

    def check_batch(self, size: int) -> None:
        self.sharding.check_batch(size, self.accumulate)

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
            jax.tree.map(lambda variable: variable.value, self._variables),
            self._step.places,
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


def _size(batch: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(batch.values())))
