"""Test that every layer and model must pass."""

import inspect
import json
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops, tree


def run_layer_test(
    layer_class,
    init_kwargs: dict,
    inputs,
    call_kwargs: dict | None = None,
    *,
    mixed_output_dtype: str | None = "bfloat16",
    mixed_tolerance: float = 0.1,
    without_gradient: tuple[str, ...] = (),
    custom_objects: dict | None = None,
):
    """Check the contract of a Keras layer or model.

    - Configuration: the keys of `get_config` are the constructor's arguments, and
      `from_config` restores the config, also from JSON.
    - Calls: symbolic calls, with known and unknown batch size, return the structure,
      shapes and dtypes of calls on arrays.
    - Training: every trainable variable gets a finite, nonzero gradient.
    - Saving: a weights file and a `.keras` file restore variables and outputs.
    - Precision: under `mixed_bfloat16`, variables stay float32, and outputs have the
      expected dtype and are close to those in float32.

    Variables are moved off their initial values first: a kernel of zeros would stop
    gradients, and a bias of zeros would hide that it is not saved.

    Args:
        layer_class: a subclass of `keras.layers.Layer`, such as a `keras.Model`.
        init_kwargs: constructor arguments.
        inputs: input of the call: an array, or a shape for normal random numbers, or a
            dict of those; a list of them for several positional arguments, a dict for
            keyword arguments. The first axis is the batch.
        call_kwargs: further arguments of the call, such as `training`.
        mixed_output_dtype: dtype of float outputs under `mixed_bfloat16`: "float32" for
            a layer that promises it; None if outputs differ in dtype.
        mixed_tolerance: largest distance of an output under `mixed_bfloat16` from that
            in float32, relative to its norm; larger if rounding can flip a choice.
        without_gradient: path suffixes of trainable variables that these inputs do not
            reach, such as "mask_token".
        custom_objects: classes that the config of this layer mentions by name.

    Raises:
        AssertionError: if a check fails; the message says which.
    """
    inputs = _to_tensors(inputs)

    def call(layer, inputs=inputs):
        args, kwargs = ([], inputs) if isinstance(inputs, dict) else (inputs, {})
        return layer(*args, **kwargs, **(call_kwargs or {}))

    custom_objects = {layer_class.__name__: layer_class, **(custom_objects or {})}
    with keras.saving.custom_object_scope(custom_objects):
        layer = layer_class(**init_kwargs)
        _check_config(layer)
        _check_calls(layer, call, inputs)
        _randomize(layer)
        _check_gradients(layer, call, without_gradient)
        _check_saving(layer, call, inputs)
        _check_precision(layer, call, inputs, mixed_output_dtype, mixed_tolerance)


def _check_config(layer):
    where = f"{type(layer).__name__}.get_config"
    config = layer.get_config()
    arguments, inherited = _constructor_arguments(type(layer))
    keys = set(config) - inherited
    _require(
        arguments == keys,
        f"{where}: keys and constructor arguments differ: "
        f"{sorted(arguments - keys)} are not stored, {sorted(keys - arguments)} are "
        "not accepted.",
    )
    try:
        text = json.dumps(config, sort_keys=True)
    except TypeError as error:
        raise AssertionError(f"{where}: the config is not JSON: {error}.") from error
    restored = type(layer).from_config(json.loads(text)).get_config()
    restored = json.dumps(restored, sort_keys=True)
    _require(
        restored == text,
        f"{where}: from_config does not restore the config; {text} became {restored}.",
    )


def _constructor_arguments(layer_class):
    """Return the names of constructor arguments: ours, and those that Keras stores.

    Ours include those of parent classes, as long as each class passes `**kwargs` on.
    """
    ours, inherited = set(), set()
    passed_on = True
    for parent in layer_class.__mro__:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(parent.__init__).parameters.values()
        kinds = {p.name: p.kind for p in parameters if p.name != "self"}
        unnamed = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        names = {name for name, kind in kinds.items() if kind not in unnamed}
        if parent.__module__.startswith("keras."):
            inherited |= names
        elif passed_on:
            ours |= names
            passed_on = inspect.Parameter.VAR_KEYWORD in kinds.values()
    return ours - inherited, inherited


def _check_calls(layer, call, inputs):
    where = type(layer).__name__
    known = _symbolic_call(layer, call, inputs)  # Builds the layer, too.
    unknown = _symbolic_call(layer, call, inputs, unknown_batch=True)
    outputs = call(layer)
    _require_promise(known, outputs, where)
    _require_promise(unknown, outputs, f"{where} with an unknown batch size")


def _check_gradients(layer, call, without_gradient):
    if not layer.trainable_variables:
        return
    gradients = _gradients(layer, call)
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        if variable.path.endswith(tuple(without_gradient)):
            continue
        where = f"{type(layer).__name__}: the gradient of {variable.path}"
        _require(gradient is not None, f"{where} does not exist: no output needs it.")
        gradient = ops.convert_to_numpy(gradient)
        _require(np.isfinite(gradient).all(), f"{where} is not finite.")
        _require(gradient.any(), f"{where} is zero everywhere.")


def _gradients(layer, call):
    """Return gradients of the squared distance of all float outputs to random targets.

    Squares of outputs would not do for a layer that normalizes its outputs: their norm
    is constant, and its gradient only rounding errors.
    """
    rng = np.random.default_rng(0)

    def compute_loss(outputs):
        distances = [
            ops.sum((ops.cast(x, "float32") - rng.standard_normal(x.shape)) ** 2)
            for x in tree.flatten(outputs)
            if _is_float(x)
        ]
        return sum(distances, start=ops.zeros(()))

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = compute_loss(call(layer))
        gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
        # Gradients of embeddings are sparse.
        return [None if g is None else tf.convert_to_tensor(g) for g in gradients]
    if keras.backend.backend() == "jax":
        import jax

        state = [v.value for v in layer.non_trainable_variables]

        def loss(trainable):
            def stateless(*args, **kwargs):
                return layer.stateless_call(trainable, state, *args, **kwargs)[0]

            return compute_loss(call(stateless))

        return jax.grad(loss)([v.value for v in layer.trainable_variables])
    raise NotImplementedError(
        "Gradients need the backend tensorflow or jax; received "
        f"{keras.backend.backend()}."
    )


def _check_saving(layer, call, inputs):
    where = type(layer).__name__
    twin = _twin(layer)
    call(twin)  # Builds it, here from arrays.
    is_model = isinstance(layer, keras.Model)
    # Only models can be saved: wrap a layer in a model.
    model, twin_model = (
        x if is_model else _as_model(x, call, inputs) for x in (layer, twin)
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder, "model.weights.h5")
        model.save_weights(weights)
        twin_model.load_weights(weights)
        model.save(pathlib.Path(folder, "model.keras"))
        loaded = keras.saving.load_model(pathlib.Path(folder, "model.keras"))
    loaded = loaded if is_model else loaded.get_layer(layer.name)
    for file, restored in (("weights", twin), ("a .keras file", loaded)):
        for ours, theirs in zip(layer.weights, restored.weights, strict=True):
            values = (ops.convert_to_numpy(v.value) for v in (ours, theirs))
            _require(
                np.array_equal(*values),
                f"{where}: saved as {file} and loaded, {ours.path} differs.",
            )
        _require_close(
            call(restored), call(layer), 1e-5, f"{where} saved as {file} and loaded"
        )


def _check_precision(layer, call, inputs, output_dtype, tolerance):
    where = f"{type(layer).__name__} under mixed_bfloat16"
    mixed = _twin(layer, dtype="mixed_bfloat16")
    promise = _symbolic_call(mixed, call, inputs)
    for variable in mixed.weights:
        _require(
            not _is_float(variable) or _dtype(variable) == "float32",
            f"{where}: {variable.path} must stay float32; is {_dtype(variable)}.",
        )
    for ours, theirs in zip(mixed.weights, layer.weights, strict=True):
        ours.assign(theirs)
    outputs = call(mixed)
    _require_promise(promise, outputs, where)
    for output in tree.flatten(outputs):
        _require(
            not _is_float(output) or output_dtype in (None, _dtype(output)),
            f"{where}: outputs must be {output_dtype}; one is {_dtype(output)}.",
        )
    _require_close(outputs, call(layer), tolerance, where)


def _require(condition, message):
    if not condition:
        raise AssertionError(message)


def _require_promise(symbolic, outputs, where):
    """Compare structure, dtypes and shapes; symbolic shapes can have unknown sizes."""

    def structure(outputs):
        return tree.map_structure(lambda x: (_dtype(x), len(x.shape)), outputs)

    equal = structure(symbolic) == structure(outputs) and all(
        size in (None, actual)
        for x, y in zip(tree.flatten(symbolic), tree.flatten(outputs), strict=True)
        for size, actual in zip(x.shape, y.shape, strict=True)
    )
    promised, returned = (
        tree.map_structure(lambda x: f"{_dtype(x)}{tuple(x.shape)}", x)
        for x in (symbolic, outputs)
    )
    _require(
        equal,
        f"{where}: a symbolic call promises {promised}, a call on arrays returns "
        f"{returned}.",
    )


def _require_close(outputs, expected, tolerance, where):
    """Compare float outputs only: rounding can change integers, which are choices."""
    for x, y in zip(tree.flatten(outputs), tree.flatten(expected), strict=True):
        if _is_float(x):
            x, y = (ops.convert_to_numpy(ops.cast(z, "float32")) for z in (x, y))
            distance = np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-6)
            _require(
                distance <= tolerance,
                f"{where}: an output is off by {distance:.2g} of its norm; at most "
                f"{tolerance} is allowed.",
            )


def _to_tensors(inputs):
    """Return inputs as a list of tensors, for positional arguments, or as a dict."""
    rng = np.random.default_rng(0)

    def to_tensor(x):
        if isinstance(x, dict):
            return {name: to_tensor(value) for name, value in x.items()}
        is_shape = isinstance(x, tuple)
        return ops.convert_to_tensor(
            rng.standard_normal(x).astype("float32") if is_shape else x
        )

    if isinstance(inputs, dict):
        return to_tensor(inputs)
    return [to_tensor(x) for x in (inputs if isinstance(inputs, list) else [inputs])]


def _symbolic_call(layer, call, inputs, unknown_batch=False):
    def symbolic(x):
        batch = None if unknown_batch else x.shape[0]
        return keras.KerasTensor((batch, *x.shape[1:]), _dtype(x))

    return call(layer, tree.map_structure(symbolic, inputs))


def _as_model(layer, call, inputs):
    """Wrap a layer in a functional model."""
    tensors = tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=_dtype(x)), inputs
    )
    return keras.Model(tree.flatten(tensors), call(layer, tensors))


def _twin(layer, **changes):
    """Make a layer of equal config but, as in another program, of a different name."""
    config = {**layer.get_config(), **changes}
    del config["name"]
    return type(layer).from_config(config)


def _randomize(layer):
    """Move all variables off their initial values."""
    rng = np.random.default_rng(0)
    trainable = {id(variable) for variable in layer.trainable_variables}
    for variable in layer.weights:
        value = ops.convert_to_numpy(variable.value)
        if id(variable) in trainable:
            change = 0.1 * rng.standard_normal(value.shape)
        elif _is_float(variable):  # It can be a variance, which must stay positive.
            change = 0.1 * rng.random(value.shape)
        else:
            change = 1
        variable.assign((value + change).astype(value.dtype))


def _dtype(x):
    return keras.backend.standardize_dtype(x.dtype)


def _is_float(x):
    return keras.backend.is_float_dtype(_dtype(x))
