"""Training steps on JAX whose weights, moments and batches are only shapes."""

import math
from collections.abc import Callable

import jax
import keras
import numpy as np
from ml_collections import ConfigDict

from genie_tf.training.build import build_optimizer
from genie_tf.training.jax_step import JaxStep
from genie_tf.training.sharding import Sharding


def trace_train_steps(
    model: keras.Model, config: ConfigDict, sharding: Sharding
) -> jax.stages.Traced:
    """Return the program of `JaxEngine.train_steps`, without allocating anything.

    Args:
        model: the model to train, without weights (see `without_weights`).
        config: see `experiments/configs`; the program has its `steps_per_call` steps.
        sharding: mesh of devices, which need not exist (see
            `jax.experimental.topologies`), and the placement of tensors on it.

    Raises:
        ValueError: if batch or weights do not divide evenly among the devices.
    """
    sharding.check_batch(config.batch_size, config.accumulate)
    optimizer = _without_values(lambda: build_optimizer(config, model))
    places = {v.path: sharding.get_variable_layout(v) for v in model.variables}
    # Moments are placed as their weights are; Keras names them after these.
    moments = {path.replace("/", "_"): place for path, place in places.items()}

    def place(variable):
        weight = variable.name.rpartition("_")[0]
        layout = places.get(variable.path) or moments.get(weight)
        return (layout or sharding.get_variable_layout(variable)).backend_layout

    step = JaxStep(model, optimizer, config.clip_norm, config.accumulate, place)
    values = jax.tree.map(
        lambda variable, place: jax.ShapeDtypeStruct(
            variable.shape, variable.dtype, sharding=place
        ),
        step.variables,
        step.places,
    )
    clips = config.batch_size // config.accumulate
    batches = {
        name: jax.ShapeDtypeStruct(
            (config.steps_per_call, config.accumulate, clips, *x.shape),
            x.dtype,
            sharding=sharding.batch_layout(axis=2),
        )
        for name, x in _example(model, config.clip_length).items()
    }
    with sharding.scope():
        return step.train.trace(values, batches)


def _without_values(make: Callable):
    """Return an object whose new variables have no values, only shapes."""
    made = []
    # In a trace, the initial values are abstract.
    jax.eval_shape(lambda: made.append(make()))
    return made[0]


def _example(model: keras.Model, frames: int) -> dict[str, np.ndarray]:
    """Return a training example of the shapes and types that the data pipeline yields."""
    tokenizer = model if hasattr(model, "frame_shape") else model.tokenizer
    clip = {
        "video": np.zeros((frames, *tokenizer.frame_shape), "uint8"),
        "action": np.zeros(frames - 1, "int32"),
    }
    return {**clip, **model.training_inputs(np.random.default_rng(0), clip)}


def count_flops(jaxpr) -> float:
    """Return the FLOPs of the matrix products in a `ClosedJaxpr`, on all devices."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            depth = math.prod(left[axis] for axis in contracted)
            total += 2 * math.prod(equation.outvars[0].aval.shape) * depth
        repeats = equation.params.get("length", 1)  # A scan runs its body this often.
        inner = [count_flops(x) for x in _inner(equation.params)]
        if equation.primitive.name == "cond":
            inner = [max(inner)]
        total += repeats * sum(inner)
    return total


def _inner(params) -> list:
    """Return the programs among the parameters of an operation."""
    values = [x if isinstance(x, (tuple, list)) else [x] for x in params.values()]
    return [x for value in values for x in value if hasattr(x, "eqns")]
