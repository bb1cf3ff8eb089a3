"""Compare training steps of the video tokenizer on a CPU with Jafar's and Jasmine's.

git clone https://github.com/FLAIROx/jafar
git clone https://github.com/p-doom/jasmine
python benchmarks/train_step.py --jafar=jafar --jasmine=jasmine \
    --peers_python=peers/bin/python

All train the same sizes on the same clips in float32: two blocks of width 256 each in the
encoder and the decoder, patches of 4, and four clips of 16 frames of 64x64 pixels.
Jafar's feed-forward is one matrix of 256x256; compared with it, ours is 256 wide, which is
twice the work. Jasmine's is 1024 wide, and so is ours compared with it. Jafar's step is
that of its `train_tokenizer.py`. Jasmine's is the one built by `main` of its
`train_tokenizer_vqvae.py`, in float32 and without flash attention, which does not run on
a CPU.

Each runs in its own process on the same cores. They take turns, so that other load on the
machine affects all of them equally. All keep freed memory, as our programs do. Another
process multiplies large matrices, to measure what the cores can do. FLOPs count a model's
matrix products, once forward and twice backward, without recomputation by remat, which
both peers use.

--peers_python is a Python with jax, flax, optax, orbax-checkpoint, einops, dm_pix and
tyro. A step does not need wandb, PyTorch and grain. Jafar runs with jax 0.10 and flax
0.12. Jasmine puts modules into plain lists, which flax rejects since 0.12, and flax 0.11
needs jax before 0.8:

pip install 'jax<0.8' 'flax>=0.10.7,<0.12' optax orbax-checkpoint einops dm_pix tyro
"""

import importlib
import json
import os
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import side_by_side

CLIPS, FRAMES, SIDE = 4, 16, 64
DIM, HEADS, BLOCKS = 256, 4, 2
PATCH, CODES, CODE_DIM = 4, 1024, 32


# Parent process: starts the programs, makes them take turns, and compares them.


def define_flags():
    from absl import flags

    flags.DEFINE_string("jafar", None, "Folder of a clone of Jafar.")
    flags.DEFINE_string("jasmine", None, "Folder of a clone of Jasmine.")
    flags.DEFINE_string("peers_python", sys.executable, "Python that runs them.")
    flags.DEFINE_integer("rounds", 7, "Number of turns.", lower_bound=1)
    flags.DEFINE_integer("steps", 2, "Training steps per turn.", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "Number of cores that all share.", lower_bound=1)
    flags.DEFINE_string("json", None, "File for the results.")


def main():
    from absl import flags

    from genie_tf.experiments import cli

    flags = flags.FLAGS
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < flags.threads:
        raise cli.UserError(
            f"--threads must be at most {len(cores)}, the number of cores; received "
            f"{flags.threads}"
        )
    for name, file in (
        ("jafar", JAFAR_SCRIPT),
        ("jasmine", JASMINE_SCRIPT),
    ):
        if flags[name].value and not (Path(flags[name].value) / file).is_file():
            raise cli.UserError(
                f"--{name} must be a clone of {name.capitalize()}, with {file}; "
                f"received {flags[name].value}"
            )
    json_file = flags.json and cli.check_folder(Path(flags.json).parent)
    os.sched_setaffinity(0, cores[: flags.threads])  # Children inherit it.

    def contestant(name, flops, python, *arguments):
        command = [python, __file__, *map(str, arguments)]
        return side_by_side.Contestant(name, flops, command)

    matmul = contestant(
        "large matmul", side_by_side.MATMUL_FLOPS, sys.executable, "matmul"
    )
    ours = {
        mlp_dim: contestant(
            f"genie_tf, mlp_dim={mlp_dim}",
            step_flops(4 * DIM * mlp_dim),
            sys.executable,
            "genie_tf",
            mlp_dim,
        )
        for mlp_dim in (256, 1024)
    }
    peers = {}
    if flags.jafar:
        peers[256] = contestant(
            "Jafar",
            step_flops(2 * DIM * DIM),
            flags.peers_python,
            "jafar",
            flags.jafar,
        )
    if flags.jasmine:
        peers[1024] = contestant(
            "Jasmine",
            step_flops(4 * DIM * 1024),
            flags.peers_python,
            "jasmine",
            flags.jasmine,
        )
    contestants = [matmul, *ours.values(), *peers.values()]
    for each in contestants:
        each.start()
    for turn in range(flags.rounds):
        for each in contestants:
            each.take_turn(flags.steps)
        print(f"round {turn + 1} of {flags.rounds}", file=sys.stderr, flush=True)
    for each in contestants:
        each.end()

    results = {each.name: each.summary(matmul) for each in contestants}
    print(
        f"{'':24}{'s/step':>8}{'CPU s/step':>12}{'GFLOP/s':>9}{'of matmul':>11}"
        f"{'by CPU time':>13}"
    )
    for name, result in results.items():
        print(
            f"{name:24}{result['seconds']:8.3f}{result['cpu_seconds']:12.3f}"
            f"{result['gflop_per_s']:9.1f}{result['share_of_matmul']:11.0%}"
            f"{result['cpu_share_of_matmul']:13.0%}"
        )
    for mlp_dim, peer in peers.items():
        own = ours[mlp_dim]
        ratio = side_by_side.ratio(peer.seconds, own.seconds)
        cpu_ratio = side_by_side.ratio(peer.cpu_seconds, own.cpu_seconds)
        results[peer.name]["times_ours"] = ratio
        results[peer.name]["cpu_times_ours"] = cpu_ratio
        print(
            f"{own.name} is {ratio:.2f} times as fast as {peer.name}, which takes "
            f"{cpu_ratio:.2f} times the CPU time"
        )
    if json_file:
        Path(flags.json).write_text(json.dumps(results, indent=2) + "\n")


def step_flops(mlp: int) -> float:
    """Return the FLOPs of the matrix products of a step.

    Args:
        mlp: FLOPs of the feed-forward per token.
    """
    patches = (SIDE // PATCH) ** 2
    projections = 2 * 2 * 4 * DIM * DIM
    attention = 2 * 2 * (patches + FRAMES) * DIM
    embedding, head = 2 * DIM * PATCH**2 * 3, 2 * DIM * PATCH**2 * 3
    codes = 2 * 2 * DIM * CODE_DIM
    forward = 2 * BLOCKS * (projections + attention + mlp) + embedding + head + codes
    # No gradients flow to pixels, or through the search for the closest code.
    token = 3 * forward - embedding + 2 * CODE_DIM * CODES
    return CLIPS * FRAMES * patches * token


# Child processes: each runs training steps, or matrix products, on request.


def clips() -> np.ndarray:
    shape = (CLIPS, FRAMES, SIDE, SIDE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def serve_genie_tf(mlp_dim: str):
    from genie_tf.models import VideoTokenizer
    from genie_tf.training.engine import TensorFlowEngine
    from genie_tf.training.optimizers import WarmupDecay, make_optimizer

    transformer = {
        "dim": DIM,
        "num_blocks": BLOCKS,
        "num_heads": HEADS,
        "mlp_dim": int(mlp_dim),
    }
    schedule = WarmupDecay(3e-4, steps=300_000, warmup_steps=10_000)
    engine = TensorFlowEngine(
        lambda: VideoTokenizer(
            (SIDE, SIDE, 3), PATCH, CODES, CODE_DIM, transformer, transformer
        ),
        lambda model: make_optimizer(
            model, schedule, "adamw", beta_1=0.9, beta_2=0.9, weight_decay=1e-4
        ),
    )
    batch = {"video": clips()}
    side_by_side.serve(
        lambda: engine.train_steps([batch]),
        lambda metrics: {name: value.numpy() for name, value in metrics.items()},
    )


JAFAR_SCRIPT = "train_tokenizer.py"


def serve_jafar(folder: str):
    sys.path.insert(0, folder)
    side_by_side.stub("wandb", "utils.dataloader")
    sys.argv = [
        JAFAR_SCRIPT,
        f"--batch_size={CLIPS}",
        f"--seq_len={FRAMES}",
        f"--image_resolution={SIDE}",
        f"--model_dim={DIM}",
        f"--num_heads={HEADS}",
        f"--num_blocks={BLOCKS}",
        f"--patch_size={PATCH}",
        f"--num_latents={CODES}",
        f"--latent_dim={CODE_DIM}",
    ]
    jafar = importlib.import_module("train_tokenizer")
    jax, optax, args = jafar.jax, jafar.optax, jafar.args
    tokenizer = jafar.TokenizerVQVAE(
        in_dim=args.image_channels,
        **{
            name: getattr(args, name)
            for name in (
                *("model_dim", "latent_dim", "num_latents", "patch_size"),
                *("num_blocks", "num_heads", "dropout", "codebook_dropout"),
            )
        },
    )
    videos = clips().astype(np.float32) / 255  # Jafar's loader does this on the host.
    rng, key = jax.random.split(jax.random.PRNGKey(args.seed))
    schedule = optax.warmup_cosine_decay_schedule(
        args.min_lr, args.max_lr, args.warmup_steps, args.num_steps
    )
    state = jafar.TrainState.create(
        apply_fn=tokenizer.apply,
        params=tokenizer.init(key, {"videos": videos}),
        tx=optax.adamw(schedule, b1=0.9, b2=0.9, weight_decay=1e-4),
    )

    def step():
        nonlocal state, rng
        rng, key = jax.random.split(rng)
        state, *results = jafar.train_step(state, {"videos": videos, "rng": key})
        return state, results

    side_by_side.serve(step, jax.block_until_ready)


JASMINE_SCRIPT = "jasmine/baselines/maskgit/train_tokenizer_vqvae.py"


def serve_jasmine(folder: str):
    flax = metadata.version("flax")
    if tuple(map(int, flax.split(".")[:2])) not in ((0, 10), (0, 11)):
        sys.exit(f"Jasmine needs flax>=0.10.7,<0.12 and jax<0.8; received flax {flax}.")
    sys.path.insert(0, folder)
    side_by_side.stub("wandb", "grain", "jasmine.utils.dataloader")
    jasmine = importlib.import_module(JASMINE_SCRIPT[:-3].replace("/", "."))
    jax, jnp, nnx, pix = jasmine.jax, jasmine.jnp, jasmine.nnx, jasmine.pix
    args = jasmine.Args(
        batch_size=CLIPS,
        seq_len=FRAMES,
        image_height=SIDE,
        image_width=SIDE,
        model_dim=DIM,
        ffn_dim=4 * DIM,
        num_heads=HEADS,
        num_blocks=BLOCKS,
        patch_size=PATCH,
        num_latents=CODES,
        latent_dim=CODE_DIM,
        use_flash_attention=False,
    )
    args.dtype = jnp.float32  # Not a field, because it lacks an annotation.
    model, _ = jasmine.build_model(args, jax.random.key(args.seed))
    optimizer = jasmine.build_optimizer(model, args)

    def loss_fn(model, videos):
        model.train()
        target = jnp.asarray(videos, dtype=jnp.float32) / 255
        outputs = model({"videos": target.astype(args.dtype)}, training=True)
        reconstruction = outputs["recon"].astype(jnp.float32)
        latents, codes = outputs["emb"], outputs["z"]
        mse = jnp.square(target - reconstruction).mean()
        q_loss = jnp.square(jax.lax.stop_gradient(latents) - codes).mean()
        commitment = jnp.square(latents - jax.lax.stop_gradient(codes)).mean()
        loss = mse + q_loss + args.vq_beta * commitment
        counts = jnp.unique_counts(
            jnp.ravel(outputs["indices"]), size=args.num_latents, fill_value=0
        )[1]
        frames = [
            video.clip(0, 1).reshape(-1, *video.shape[2:])
            for video in (target, reconstruction)
        ]
        metrics = {
            "mse": mse,
            "psnr": jnp.asarray(pix.psnr(*frames)).mean(),
            "ssim": jnp.asarray(pix.ssim(*frames)).mean(),
            "loss": loss,
            "q_loss": q_loss,
            "commitment_loss": commitment,
            "codebook_usage": (counts != 0).mean(),
        }
        return loss, (reconstruction, metrics)

    @nnx.jit(donate_argnums=0)
    def train_step(optimizer, videos):
        (loss, (reconstruction, metrics)), gradients = nnx.value_and_grad(
            loss_fn, has_aux=True
        )(optimizer.model, videos)
        optimizer.update(gradients)
        return loss, reconstruction, metrics

    videos = clips()
    side_by_side.serve(
        lambda: train_step(optimizer, videos),
        lambda results: jax.block_until_ready((results, nnx.state(optimizer))),
    )


PROGRAMS = {
    "matmul": side_by_side.serve_matmul,
    "genie_tf": serve_genie_tf,
    "jafar": serve_jafar,
    "jasmine": serve_jasmine,
}

if __name__ == "__main__":
    side_by_side.run(PROGRAMS, main, define_flags)
