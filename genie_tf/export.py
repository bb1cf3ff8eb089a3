"""Models as SavedModels, which TensorFlow plays without genie_tf and without Keras."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from genie_tf.models import GuidedGenie, VideoTokenizer, World
from genie_tf.samplers import Rollout, Sampling


def export_model(model: World | VideoTokenizer, folder: str | os.PathLike) -> None:
    """Writes a model as a SavedModel.

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
    - `step(**state, action, seed, num_steps, temperature, top_k, choice_temperature,
      order)` to the new state and `frame`, (b, height, width, channels). `action` and
      `seed` are int32 (b,); the others scalars as of `Sampling`, of which `order` is
      the place in `ORDERS`. Frames are those of `Rollout.step`.

    Args:
        model: a `Genie`, `GuidedGenie` or `VideoTokenizer`.
        folder: where to write; it must not exist yet.

    Raises:
        ValueError: if the folder exists, the model is another one, or Keras does not
            run on TensorFlow.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists already: choose another folder.")
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "TensorFlow alone writes SavedModels; received "
            f"KERAS_BACKEND={keras.config.backend()}: leave it out."
        )
    if isinstance(model, World):
        programs = _programs_of_tokenizer(model.tokenizer) | _programs_of_world(model)
    elif isinstance(model, VideoTokenizer):
        programs = _programs_of_tokenizer(model)
    else:
        raise ValueError(
            "A Genie or a tokenizer can be exported; received a "
            f"{type(model).__name__}."
        )
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tf.saved_model.save(module, partial, signatures=programs)
    partial.rename(folder)


def _programs_of_tokenizer(tokenizer: VideoTokenizer) -> dict:
    return {
        "tokenize": _program(
            lambda video: {"tokens": tokenizer.tokenize(video)},
            video=_video(tokenizer),
        ),
        "detokenize": _program(
            lambda tokens: {"video": tokenizer.detokenize(tokens)},
            tokens=tf.TensorSpec((None, None, tokenizer.num_patches), "int32"),
        ),
    }


def _programs_of_world(world: World) -> dict:
    rollout = Rollout(world)
    form = rollout.before_any(1)

    def named(state):
        paths = keras.tree.flatten_with_path(state)
        return {"_".join(["state", *map(str, path)]): leaf for path, leaf in paths}

    def reset(prompt):
        return named(rollout.start(prompt)[0])

    def step(action, seed, **others):
        leaves = [others.pop(name) for name in named(form)]
        state, frame = rollout.next_frame(
            keras.tree.pack_sequence_as(form, leaves), action, seed, Sampling(**others)
        )
        return {**named(state), "frame": frame}

    of_each_video = tf.TensorSpec((None,), "int32")
    settings = Sampling().as_tensors()._asdict()
    programs = {
        "step": _program(
            step,
            action=of_each_video,
            seed=of_each_video,
            **{name: tf.TensorSpec((), x.dtype) for name, x in settings.items()},
            **{
                name: tf.TensorSpec((None, *x.shape[1:]), x.dtype)
                for name, x in named(form).items()
            },
        )
    }
    video = _video(world.tokenizer)
    if isinstance(world, GuidedGenie):
        return {**programs, "reset": _program(reset, prompt=_video(world.tokenizer, 1))}
    return {
        **programs,
        "reset": _program(reset, prompt=video),
        "infer_actions": _program(
            lambda video: {"actions": world.infer_actions(video)}, video=video
        ),
    }


def _video(tokenizer: VideoTokenizer, time: int | None = None) -> tf.TensorSpec:
    return tf.TensorSpec((None, time, *tokenizer.frame_shape), "uint8")


def _program(function: Callable, **inputs: tf.TensorSpec):
    named = {name: tf.TensorSpec(x.shape, x.dtype, name) for name, x in inputs.items()}
    return tf.function(function, jit_compile=True).get_concrete_function(**named)
