"""Exports models as SavedModels, which TensorFlow runs without genie_tf or Keras."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from genie_tf.compilation import compiled
from genie_tf.files import check_new, private_folder, replacing_folder
from genie_tf.models import Tokenizer, WorldModel
from genie_tf.presets.folder import read_config
from genie_tf.presets.loading import load_preset
from genie_tf.samplers import WorldSampler


def export_model(model: WorldModel | Tokenizer, folder: str | os.PathLike) -> None:
    """Write a model as a SavedModel.

    Its signatures are compiled with XLA on the first call with each shape. They accept
    any batch size b and time t; input frames are uint8, output frames float32 in [0, 1].

    - `tokenize(video)`: from (b, t, height, width, channels) to `tokens`, int32 (b, t,
      tokens).
    - `detokenize(tokens)`: to `video`; a tokenizer that `needs_first_frame` also has an
      input `first`, (b, height, width, channels).

    A world also has

    - `infer_actions(video)`: to `actions`, int32 (b, t-1), unless the world is guided.
    - `reset(prompt)`: from (b, t, height, width, channels), with t = 1 for a guided
      world, to the state, tensors whose names begin with `state_`.
    - `reset_with_actions(prompt, actions)`: the same for any t, with the actions between
      the frames, int32 (b, t-1).
    - `step(**state, action, seed, **sampling)`: to the new state and `frame`, (b, height,
      width, channels). `action` and `seed` are int32 (b,); sampling settings, such as
      `temperature`, are scalars, and choices are indices into `Setting.choices`. Frames
      equal those of `WorldSampler.step`.
    - `sampling()`: to the world's default sampling settings, for `step`.

    Args:
        model: a `WorldModel` or a `Tokenizer`.
        folder: output folder; it must not exist yet.

    Raises:
        ValueError: if the folder exists, the model is of another class, or Keras does not
            run on TensorFlow.
        OSError: if the disk is full.
    """
    folder = check_new(folder)
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "Only TensorFlow writes SavedModels; received "
            f"KERAS_BACKEND={keras.config.backend()}: unset it."
        )
    signatures = {
        name: compiled(function).get_concrete_function(**inputs)
        for name, (function, inputs) in make_signatures(model).items()
    }
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    with replacing_folder(folder) as partial:
        try:
            tf.saved_model.save(module, partial, signatures=signatures)
        except tf.errors.OpError as error:
            # The message also names TensorFlow's own functions and files.
            reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
            raise OSError(f"{folder} cannot be written: {reason}.") from error


def saved_model(preset: str | os.PathLike) -> str:
    """Return the path of a preset as a SavedModel, exported once.

    It is kept in the user's cache, for these weights and versions.

    Args:
        preset: a name from `genie_tf.list_presets()`, or a folder.

    Raises:
        ValueError: if there is no such preset, or see `export_model`.
        OSError: if the cache cannot be written, or is open to other users.

    Example:

    ```python
    model = tf.saved_model.load(genie_tf.saved_model("genie_coinrun"))
    ```
    """
    version = importlib.metadata.version("genie_tf")
    facts = [read_config(preset), version, tf.__version__]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    folder = private_folder("saved_models") / key[:32]
    if not folder.exists():
        export_model(load_preset(preset), folder)
    return str(folder)


def make_signatures(model: WorldModel | Tokenizer) -> dict[str, tuple[Callable, dict]]:
    """Return the function of each signature, and the `tf.TensorSpec` of each input.

    Raises:
        ValueError: if the model is of another class.
    """
    if isinstance(model, Tokenizer):
        return _tokenizer_signatures(model)
    if isinstance(model, WorldModel):
        return _tokenizer_signatures(model.tokenizer) | _world_signatures(model)
    raise ValueError(
        f"A Genie or a tokenizer can be exported; received a {type(model).__name__}."
    )


def _tokenizer_signatures(tokenizer: Tokenizer) -> dict:
    def tokenize(video):
        return {"tokens": tokenizer.tokenize(video)}

    def detokenize(tokens, first=None):
        return {"video": tokenizer.detokenize(tokens, first)}

    tokens = {"tokens": _spec("tokens", (None, None, tokenizer.num_tokens))}
    if tokenizer.needs_first_frame:
        tokens["first"] = _spec("first", (None, *tokenizer.frame_shape), "uint8")
    return {
        "tokenize": (tokenize, {"video": _video("video", tokenizer)}),
        "detokenize": (detokenize, tokens),
    }


def _world_signatures(world: WorldModel) -> dict:
    sampler = WorldSampler(world)
    structure, _ = sampler.first_frame(
        ops.zeros((1, world.dynamics.num_tokens), "int32"),
        ops.zeros((1, *world.tokenizer.frame_shape), "uint8"),
    )

    def named(state):
        paths = keras.tree.flatten_with_path(state)
        return {"_".join(["state", *map(str, path)]): leaf for path, leaf in paths}

    def reset(prompt):
        return named(sampler.start(prompt)[0])

    def reset_with_actions(prompt, actions):
        return named(sampler.start(prompt, actions)[0])

    def step(action, seed, **others):
        leaves = [others.pop(name) for name in named(structure)]
        state, frame = sampler.next_frame(
            keras.tree.pack_sequence_as(structure, leaves), action, seed, others
        )
        return {**named(state), "frame": frame}

    def infer_actions(video):
        return {"actions": world.infer_actions(video)}

    inputs = [_spec("action", (None,)), _spec("seed", (None,))]
    for name, setting in world.dynamics.sampling_tensors().items():
        inputs.append(_spec(name, (), setting.dtype))
    for name, leaf in named(structure).items():
        inputs.append(_spec(name, (None, *leaf.shape[1:]), leaf.dtype))
    signatures = {"step": (step, {spec.name: spec for spec in inputs})}
    if world.dynamics.sampling_settings:
        signatures["sampling"] = world.dynamics.sampling_tensors, {}
    # A guided world cannot infer the actions between the frames of a longer prompt.
    prompt = _video("prompt", world.tokenizer, time=None if world.infers_actions else 1)
    signatures["reset"] = reset, {"prompt": prompt}
    signatures["reset_with_actions"] = (
        reset_with_actions,
        {
            "prompt": _video("prompt", world.tokenizer),
            "actions": _spec("actions", (None, None)),
        },
    )
    if world.infers_actions:
        video = _video("video", world.tokenizer)
        signatures["infer_actions"] = infer_actions, {"video": video}
    return signatures


def _spec(name: str, shape: tuple, dtype="int32") -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


def _video(name: str, tokenizer: Tokenizer, time=None) -> tf.TensorSpec:
    return _spec(name, (None, time, *tokenizer.frame_shape), "uint8")
