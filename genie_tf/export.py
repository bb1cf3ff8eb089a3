"""Models as SavedModels, which TensorFlow plays without genie_tf and without Keras."""

import os
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from genie_tf.compilation import compiled
from genie_tf.files import check_new, replacing_folder
from genie_tf.models import Tokenizer, WorldModel
from genie_tf.samplers import WorldSampler


def export_model(model: WorldModel | Tokenizer, folder: str | os.PathLike) -> None:
    """Write a model as a SavedModel.

    Its signatures are compiled with XLA when they are first called, once for each shape.
    They take any batch b and time t; frames are uint8 going in, and float32 in [0, 1]
    coming out.

    - `tokenize(video)`, (b, t, height, width, channels), to `tokens`, int32 (b, t,
      patches).
    - `detokenize(tokens)` to `video`.

    Of a world also

    - `infer_actions(video)` to `actions`, int32 (b, t-1), unless it is guided.
    - `reset(prompt)`, (b, t, height, width, channels), t = 1 if it is guided, to the
      state, tensors of names that begin with `state_`.
    - `step(**state, action, seed, **sampling)` to the new state and `frame`, (b, height,
      width, channels). `action` and `seed` are int32 (b,); the settings of sampling, such
      as `temperature`, are scalars, and a choice its place in `Setting.choices`. Frames
      are those of `WorldSampler.step`.

    Args:
        model: a `WorldModel` or a `Tokenizer`.
        folder: where to write; it must not exist yet.

    Raises:
        ValueError: if the folder exists, the model is another one, or Keras does not
            run on TensorFlow.
        OSError: if the disk is full.
    """
    folder = check_new(folder)
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "TensorFlow alone writes SavedModels; received "
            f"KERAS_BACKEND={keras.config.backend()}: leave it out."
        )
    signatures = {
        name: compiled(function).get_concrete_function(**inputs)
        for name, (function, inputs) in programs_of(model).items()
    }
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    with replacing_folder(folder) as partial:
        try:
            tf.saved_model.save(module, partial, signatures=signatures)
        except tf.errors.OpError as error:
            # Around the reason, TensorFlow tells of its own functions and files.
            reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
            raise OSError(f"{folder} cannot be written: {reason}.") from error


def programs_of(model: WorldModel | Tokenizer) -> dict[str, tuple[Callable, dict]]:
    """The functions that become signatures, and the `tf.TensorSpec` of each input.

    Raises:
        ValueError: if the model is another one.
    """
    if isinstance(model, Tokenizer):
        return _programs_of_tokenizer(model)
    if isinstance(model, WorldModel):
        return _programs_of_tokenizer(model.tokenizer) | _programs_of_world(model)
    raise ValueError(
        f"A Genie or a tokenizer can be exported; received a {type(model).__name__}."
    )


def _programs_of_tokenizer(tokenizer: Tokenizer) -> dict:
    def tokenize(video):
        return {"tokens": tokenizer.tokenize(video)}

    def detokenize(tokens):
        return {"video": tokenizer.detokenize(tokens)}

    return {
        "tokenize": (tokenize, {"video": _video("video", tokenizer)}),
        "detokenize": (
            detokenize,
            {"tokens": _spec("tokens", (None, None, tokenizer.num_patches))},
        ),
    }


def _programs_of_world(world: WorldModel) -> dict:
    sampler = WorldSampler(world)
    first = ops.zeros((1, world.dynamics.num_patches), "int32")
    form = sampler.initial_state(first)

    def named(state):
        paths = keras.tree.flatten_with_path(state)
        return {"_".join(["state", *map(str, path)]): leaf for path, leaf in paths}

    def reset(prompt):
        return named(sampler.start(prompt)[0])

    def step(action, seed, **others):
        leaves = [others.pop(name) for name in named(form)]
        state, frame = sampler.next_frame(
            keras.tree.pack_sequence_as(form, leaves), action, seed, others
        )
        return {**named(state), "frame": frame}

    def infer_actions(video):
        return {"actions": world.infer_actions(video)}

    of_step = [_spec("action", (None,)), _spec("seed", (None,))]
    for name, setting in world.dynamics.sampling_tensors().items():
        of_step.append(_spec(name, (), setting.dtype))
    for name, leaf in named(form).items():
        of_step.append(_spec(name, (None, *leaf.shape[1:]), leaf.dtype))
    programs = {"step": (step, {spec.name: spec for spec in of_step})}
    # Without actions inferred, a prompt has no others between its frames.
    prompt = _video("prompt", world.tokenizer, time=None if world.infers_actions else 1)
    programs["reset"] = reset, {"prompt": prompt}
    if world.infers_actions:
        video = _video("video", world.tokenizer)
        programs["infer_actions"] = infer_actions, {"video": video}
    return programs


def _spec(name: str, shape: tuple, dtype="int32") -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


def _video(name: str, tokenizer: Tokenizer, time=None) -> tf.TensorSpec:
    return _spec(name, (None, time, *tokenizer.frame_shape), "uint8")
