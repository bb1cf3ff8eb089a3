"""Compare the planned memory of a published config with XLA's analysis of its step.

KERAS_BACKEND=jax python benchmarks/compiled_memory.py --config=coinrun_tokenizer:paper

Compiles the training step at its real size on the CPU, without running it, so only the
weights and moments take memory. XLA for CPUs computes bfloat16 in float32, so both numbers
are for float32; the plan for the config's own precision is printed too.
"""

import os

# Otherwise the CPU compiler recomputes blocks early and keeps their activations. The
# others save time and change no buffers.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_disable_hlo_passes=cse_barrier_expander "
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

from functools import partial

from absl import flags

from genie_tf.experiments import cli, published

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("config", "coinrun_tokenizer:paper", "A published config.")


def main() -> None:
    cli.import_keras()
    from genie_tf.training.jax_engine import JaxEngine
    from genie_tf.training.optimizers import WarmupDecay, make_optimizer
    from genie_tf.training.sharding import make_sharding

    config = published.load(FLAGS.config)
    for precision in dict.fromkeys((config.precision, "float32")):
        print(f"planned in {precision}: {_planned(config, precision) / 1e9:.1f} GB")
    engine = JaxEngine(
        partial(published.make, FLAGS.config),
        partial(
            make_optimizer,
            schedule=WarmupDecay(steps=config.steps, **config.schedule),
            **config.optimizer,
        ),
        config.clip_norm,
        make_sharding(),
        config.accumulate,
    )
    print(f"XLA in float32: {_compiled(engine, config) / 1e9:.1f} GB")


def _planned(config, precision: str) -> float:
    """Return the planned peak, in bytes."""
    import keras

    from genie_tf.presets.without_weights import without_weights
    from genie_tf.training.plan import step_memory

    def make():
        keras.config.set_dtype_policy(precision)  # Of this thread only.
        return published.make(FLAGS.config)

    model = without_weights(make)
    return step_memory(model, config.clip_length, config.batch_size, mesh={}).peak


def _compiled(engine, config) -> float:
    """Return the peak of the compiled training step, in bytes."""
    import numpy as np

    tokenizer = getattr(engine.model, "tokenizer", engine.model)
    shape = config.batch_size, config.clip_length
    batch = {"video": np.zeros((*shape, *tokenizer.frame_shape), "uint8")}
    if config.stage == "genie":
        batch["mask"] = np.ones((*shape, tokenizer.num_patches), bool)
    step, compiled = engine._train, []

    def compile_only(values, batches):
        compiled.append(step.lower(values, batches).compile())
        return values, {}

    engine._train = compile_only
    engine.train_steps([batch])
    memory = compiled[0].memory_analysis()
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes


if __name__ == "__main__":
    cli.run(main, define_flags)
