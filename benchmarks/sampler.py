"""Measure the time per frame: cached, uncached, by steps, batch and order, and of Jafar.

python benchmarks/sampler.py --size=tiny --json=FILE
python benchmarks/sampler.py --size=jafar --jafar=DIR --peers_python=DIR/bin/python

Models are untrained, which does not change their speed. All rows take turns, each after a
full window of frames. "Cached" is `WorldSampler.step`, from a state and an action to a new
state and a frame. "Uncached" runs all frames of the window at each decoding step and then
decodes them, with the same weights, as a sampler without a cache must. FLOPs count the
matrix products of a row, for comparison with a large matrix product on the same cores.

`jafar` has the sizes of Jafar's blocks at a width of 256. Jafar's own sampler,
`Genie.sample`, takes turns in a separate process. It is compiled once for a full window;
as shipped, each length of the video would be traced again. --peers_python is a Python
with jax, flax, optax, orbax-checkpoint, einops, dm_pix and tyro.
"""

import importlib
import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import side_by_side

SIDE, CODES, CODE_DIM, ACTIONS = 64, 1024, 32, 6


def transformer(dim: int, blocks: int, heads: int, mlp_dim: int, window: int) -> dict:
    return {
        "dim": dim,
        "num_blocks": blocks,
        "num_heads": heads,
        "mlp_dim": mlp_dim,
        "window": window,
    }


# Patch size, window of the dynamics, dynamics and decoder.
SIZES = {
    "tiny": (8, transformer(128, 4, 4, 512, 4), transformer(128, 2, 4, 512, 4)),
    "fast": (8, transformer(192, 4, 4, 768, 4), transformer(128, 2, 4, 512, 4)),
    "paper": (4, transformer(512, 12, 8, 2048, 16), transformer(512, 8, 8, 2048, 16)),
    # Two feed-forward matrices of 256x128 cost as much as Jafar's one of 256x256.
    "jafar": (8, transformer(256, 6, 4, 128, 16), transformer(256, 2, 4, 128, 16)),
}


def define_flags():
    from absl import flags

    flags.DEFINE_enum("size", "tiny", list(SIZES), "Size of the models.")
    flags.DEFINE_list("steps", [1, 2, 4, 8, 12, 25], "Numbers of decoding steps.")
    flags.DEFINE_list("batches", [4, 16], "Numbers of sessions, in addition to one.")
    flags.DEFINE_string("jafar", None, "Folder of a clone of Jafar.")
    flags.DEFINE_string("peers_python", sys.executable, "Python that runs Jafar.")
    flags.DEFINE_integer("rounds", 7, "Number of turns.", lower_bound=1)
    flags.DEFINE_string("json", None, "File for the results.")


def main():
    from absl import flags

    from genie_tf.experiments import cli

    flags = flags.FLAGS
    if flags.jafar and not (Path(flags.jafar) / "genie.py").is_file():
        raise cli.UserError(
            f"--jafar must be a clone of Jafar, with genie.py; received {flags.jafar}"
        )
    if flags.json:
        cli.check_folder(Path(flags.json).parent)
    jafar = None
    if flags.jafar:
        command = [flags.peers_python, __file__, "jafar", flags.jafar]
        jafar = side_by_side.Contestant("Jafar, compiled, 25 steps", 0.0, command)
        jafar.start()
    rows = make_rows(flags.size, map(int, flags.steps), map(int, flags.batches))
    times = {name: [] for name in rows}
    for turn in range(flags.rounds):
        for name, (step, _, _) in rows.items():
            times[name].append(side_by_side.measure(step, read, 1))
        if jafar:
            jafar.take_turn(1)
        print(f"round {turn + 1} of {flags.rounds}", file=sys.stderr, flush=True)
    matmul = times["large matmul"]
    results = {
        name: {
            **side_by_side.summary(*zip(*times[name]), flops, *zip(*matmul)),
            "frames_per_s": batch / statistics.median(x for x, _ in times[name]),
        }
        for name, (_, flops, batch) in rows.items()
    }
    if jafar:
        jafar.end()
        results[jafar.name] = side_by_side.summary(
            jafar.seconds, jafar.cpu_seconds, 0.0, *zip(*matmul)
        ) | {"frames_per_s": 1 / statistics.median(jafar.seconds)}
    print("| row | ms/step | frames/s | CPU ms | share of a large product's rate |")
    print("|---|---|---|---|---|")
    for name, result in results.items():
        print(
            f"| {name} | {1e3 * result['seconds']:.1f} | {result['frames_per_s']:.1f} "
            f"| {1e3 * result['cpu_seconds']:.1f} | {result['share_of_matmul']:.0%} |"
        )
    if flags.json:
        Path(flags.json).write_text(json.dumps(results, indent=2) + "\n")


def untrained_genie(size: str):
    """Return a Genie of a size, with small encoders: only the prompt frame needs them."""
    from genie_tf.models import (
        Genie,
        LatentActionModel,
        MaskGitDynamics,
        VideoTokenizer,
    )

    patch, dynamics, decoder = SIZES[size]
    shape = (SIDE, SIDE, 3)
    small = {**decoder, "num_blocks": 1, "window": 1}
    return Genie(
        VideoTokenizer(shape, patch, CODES, CODE_DIM, small, decoder),
        LatentActionModel(shape, 16, ACTIONS, CODE_DIM, small, small),
        MaskGitDynamics(
            CODES, (SIDE // patch) ** 2, CODE_DIM, {**dynamics, "qk_norm": True}
        ),
    )


def make_rows(size: str, steps, batches) -> dict:
    """Return for each row a function that makes frames, its FLOPs, and their number."""
    import tensorflow as tf

    from genie_tf.samplers import WorldSampler

    patch, dynamics, _ = SIZES[size]
    genie = untrained_genie(size)
    sampler = WorldSampler(genie)
    window = dynamics["window"]
    rng = np.random.default_rng(0)
    video = rng.integers(256, size=(1, window, SIDE, SIDE, 3), dtype="uint8")

    def cached(batch, sampling):
        state, _ = sampler.reset(np.repeat(video, batch, axis=0))
        action = np.zeros(batch, "int32")

        def step():
            return sampler.step(state, action, 0, sampling)[1]

        step()  # Compiles on the first call with this batch size.
        return step, (sampling["num_steps"] + 1) * pass_flops(1) * batch, batch

    def pass_flops(frames):
        n = (SIDE // patch) ** 2
        entry = 2 * dynamics["dim"] * 2 * CODE_DIM
        exit = 2 * CODE_DIM * (dynamics["dim"] + CODES)
        return frames * n * (block_flops(dynamics, n) + entry + exit)

    def uncached(sampling):
        tokens = genie.tokenizer.tokenize(video)
        actions = tf.zeros((1, window), "int32")

        @tf.function(jit_compile=True)
        def program(tokens, settings):
            from genie_tf.samplers import sample_frame

            vectors = genie.action_vectors(actions)[:, :-1]
            past = tokens[:, 1:]
            known = tf.zeros_like(past, tf.bool)

            def predict(frame, masked):
                frames = tf.concat([past, frame[:, None]], axis=1)
                mask = tf.concat([known, masked[:, None]], axis=1)
                return genie.dynamics(frames, vectors, {"mask": mask})[:, -1]

            grid = genie.tokenizer.grid
            frame = sample_frame(predict, grid, tf.zeros(1, tf.uint32), settings)
            frames = tf.concat([past, frame[:, None]], axis=1)
            return genie.tokenizer.detokenize(frames)[:, -1]

        settings = genie.dynamics.sampling_tensors(sampling)
        program(tokens, settings)
        return (
            lambda: program(tokens, settings),
            sampling["num_steps"] * pass_flops(window),
            1,
        )

    matrices = [
        tf.random.stateless_normal((side_by_side.MATRIX,) * 2, (0, i)) for i in (0, 1)
    ]
    rows = {
        "large matmul": (
            lambda: [tf.matmul(*matrices) for _ in range(side_by_side.PRODUCTS)][-1],
            side_by_side.MATMUL_FLOPS,
            1,
        )
    }
    for num_steps in steps:
        rows[f"cached, {num_steps} steps"] = cached(1, {"num_steps": num_steps})
    compared = 25 if size == "jafar" else 8
    rows[f"uncached, {compared} steps"] = uncached({"num_steps": compared})
    for batch in batches:
        rows[f"cached, 8 steps, {batch} sessions"] = cached(batch, {"num_steps": 8})
    for order in ("halton", "random"):
        rows[f"cached, 8 steps, {order}"] = cached(1, {"num_steps": 8, "order": order})
    rows["cached, 8 steps, likeliest"] = cached(1, {"num_steps": 8, "temperature": 0.0})
    return rows


def block_flops(settings: dict, patches: int) -> float:
    """Return the FLOPs per token of the matrix products of all blocks."""
    dim = settings["dim"]
    projections = 2 * 2 * 4 * dim * dim
    attention = 2 * 2 * (patches + settings["window"]) * dim
    return settings["num_blocks"] * (
        projections + attention + 2 * 2 * dim * settings["mlp_dim"]
    )


def read(frames):
    """Wait for frames."""
    return np.asarray(frames)[..., 0]


def serve_jafar(folder: str):
    """Serve Jafar's sampler, compiled for fifteen frames and the next one."""
    sys.path.insert(0, folder)
    side_by_side.stub("wandb", "utils.dataloader")
    genie_module = importlib.import_module("genie")
    import jax

    _, dynamics, decoder = SIZES["jafar"]
    genie = genie_module.Genie(
        in_dim=3,
        tokenizer_dim=decoder["dim"],
        latent_patch_dim=CODE_DIM,
        num_patch_latents=CODES,
        patch_size=8,
        tokenizer_num_blocks=decoder["num_blocks"],
        tokenizer_num_heads=decoder["num_heads"],
        lam_dim=64,
        latent_action_dim=CODE_DIM,
        num_latent_actions=ACTIONS,
        lam_patch_size=16,
        lam_num_blocks=1,
        lam_num_heads=4,
        dyna_dim=dynamics["dim"],
        dyna_num_blocks=dynamics["num_blocks"],
        dyna_num_heads=dynamics["num_heads"],
    )
    window = dynamics["window"]
    rng = jax.random.PRNGKey(0)
    videos = np.random.default_rng(0).random((1, window, SIDE, SIDE, 3), "float32")
    params = genie.init(rng, {"videos": videos, "mask_rng": rng})
    actions = np.zeros((1, window - 1, 1), "int32")

    @jax.jit
    def sample(videos, rng):
        batch = {"videos": videos, "latent_actions": actions, "rng": rng}
        return genie.apply(params, batch, 25, 1.0, True, method=type(genie).sample)

    side_by_side.serve(lambda: sample(videos[:, :-1], rng), jax.block_until_ready)


PROGRAMS = {"jafar": serve_jafar}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    side_by_side.run(PROGRAMS, main, define_flags)
