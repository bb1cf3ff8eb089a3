"""Compare the planned memory of a published config with XLA's analysis of its step.

KERAS_BACKEND=jax python benchmarks/compiled_memory.py --config=coinrun_tokenizer:paper
KERAS_BACKEND=jax python benchmarks/compiled_memory.py --config=coinrun_genie:paper \
    --tokenizer=coinrun_tokenizer:paper --blocks=1

Compiles the training step on the CPU, without running it, so only weights and moments take
memory. XLA for CPUs computes bfloat16 in float32, so both numbers are for float32.
Compiling all blocks of a config takes long; --blocks compiles fewer.
"""

import os

# Otherwise the CPU compiler recomputes blocks early and keeps their activations. The
# others save time and change no buffers.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_disable_hlo_passes=cse_barrier_expander "
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

from absl import flags

from genie_tf.experiments import cli, published

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("config", "coinrun_tokenizer:paper", "A published config.")
    flags.DEFINE_string("tokenizer", None, "Config of the tokenizer of a Genie.")
    flags.DEFINE_integer("blocks", None, "Blocks per transformer, if not all.")


def main() -> None:
    cli.import_keras()
    from genie_tf.presets.without_weights import without_weights
    from genie_tf.training.build import build_model, build_world
    from genie_tf.training.jax_engine import JaxEngine
    from genie_tf.training.optimizers import WarmupDecay, make_optimizer
    from genie_tf.training.plan import step_memory
    from genie_tf.training.sharding import make_sharding

    config = _shallow(published.load(FLAGS.config))

    def make():
        if config.stage != "genie":
            return build_model(config)
        return build_world(
            config, build_model(_shallow(published.load(FLAGS.tokenizer)))
        )

    def make_own_optimizer(model):
        schedule = WarmupDecay(steps=config.steps, **config.schedule)
        return make_optimizer(model, schedule, **config.optimizer)

    memory = step_memory(
        without_weights(make), config.clip_length, config.batch_size, mesh={}
    )
    print(f"planned: {memory.peak / 1e9:.2f} GB", flush=True)
    engine = JaxEngine(
        make, make_own_optimizer, config.clip_norm, make_sharding(), config.accumulate
    )
    print(f"XLA: {_compiled(engine, config) / 1e9:.2f} GB")


def _shallow(config):
    """Return a config with --blocks blocks in each transformer."""
    for group in (
        config.get("model"),
        config.get("latent_action_model"),
        config.get("dynamics"),
    ):
        for name in ("encoder", "decoder", "transformer"):
            if FLAGS.blocks and group and name in group:
                group[name].num_blocks = FLAGS.blocks
    return config


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
