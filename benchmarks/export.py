"""Measure the time per frame of an exported world on a CPU.

python benchmarks/export.py

Builds the untrained `tiny` Genie of experiments/configs and makes a frame of one video with
`WorldSampler` in Python, the SavedModel, a bfloat16 SavedModel, a SavedModel not compiled by
XLA, and TFLite with float32 and int8 weights. They take turns, so that other load on the
machine affects all of them equally.
"""

import functools
import statistics
import tempfile
import time
from unittest import mock

from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_integer("rounds", 30, "Number of turns.", lower_bound=1)
    cli.define_sampling_flags()


def main():
    import keras
    import numpy as np

    from genie_tf.samplers import WorldSampler

    world = tiny_world()
    prompt = np.random.default_rng(0).integers(
        256, size=(1, 1, 64, 64, 3), dtype="uint8"
    )
    sampler = WorldSampler(world)
    state, _ = sampler.reset(prompt)
    sampling = cli.sampling(world)
    frame_makers = {
        "WorldSampler.step": lambda: sampler.step(state, [1], 0, sampling)[1],
        "SavedModel": saved_model(world, prompt),
        "SavedModel, not compiled": saved_model(world, prompt, compiled=False),
        "TFLite": tflite(world, prompt, quantized=False),
        "TFLite, int8 weights": tflite(world, prompt, quantized=True),
    }
    keras.config.set_dtype_policy("mixed_bfloat16")
    frame_makers["SavedModel, bfloat16"] = saved_model(tiny_world(), prompt)
    seconds = {name: [] for name in frame_makers}
    for _ in range(FLAGS.rounds + 1):
        for name, make_frame in frame_makers.items():
            start = time.perf_counter()
            np.asarray(make_frame())  # Waits for the result.
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        times = sorted(1e3 * x for x in times[1:])
        print(
            f"{name:26}{statistics.median(times):8.1f} ms "
            f"({times[len(times) // 4]:.1f} to {times[3 * len(times) // 4]:.1f})"
        )


def tiny_world():
    from genie_tf.experiments.configs import coinrun_genie, coinrun_tokenizer
    from genie_tf.training.build import build_model, build_world

    tokenizer = build_model(coinrun_tokenizer.get_config("tiny"))
    return build_world(coinrun_genie.get_config("tiny"), tokenizer)


def step_inputs(world, prompt) -> dict:
    from genie_tf.export import make_signatures

    sampling = world.dynamics.sampling_tensors(cli.sampling(world))
    state = make_signatures(world)["reset"][0](prompt)
    return {**state, "action": [1], "seed": [0], **sampling}


def saved_model(world, prompt, compiled: bool = True):
    """Return a function that makes a frame with the `step` of a SavedModel."""
    import tensorflow as tf

    from genie_tf.export import make_signatures

    function, specs = make_signatures(world)["step"]
    step = tf.function(function, jit_compile=compiled).get_concrete_function(**specs)
    module = tf.Module()
    module.weights = [weight.value for weight in world.weights]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=step)
        step = tf.saved_model.load(folder).signatures["serving_default"]
    inputs = step_inputs(world, prompt)
    return lambda: step(**inputs)["frame"]


def tflite(world, prompt, quantized: bool):
    """Return a function that makes a frame with TFLite on two threads."""
    import keras
    import tensorflow as tf

    from genie_tf.export import make_signatures

    inputs = {k: tf.convert_to_tensor(x) for k, x in step_inputs(world, prompt).items()}
    specs = {k: tf.TensorSpec(x.shape, x.dtype, k) for k, x in inputs.items()}
    # Keras's argmax distinguishes -0 from 0 by its bits; TFLite lacks that operation.
    plain = functools.partial(tf.argmax, output_type="int32")
    with mock.patch.object(keras.ops, "argmax", plain):
        step = tf.function(make_signatures(world)["step"][0])
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [step.get_concrete_function(**specs)], world
        )
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = tf.lite.Interpreter(model_content=converter.convert(), num_threads=2)
    interpreter.allocate_tensors()
    for slot in interpreter.get_input_details():
        name = slot["name"].removeprefix("serving_default_").removesuffix(":0")
        interpreter.set_tensor(slot["index"], inputs[name].numpy())
    return interpreter.invoke


if __name__ == "__main__":
    cli.run(main, define_flags)
