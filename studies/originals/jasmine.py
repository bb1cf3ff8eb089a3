"""Runs Jasmine's own code: writes weights from a seed, inputs and outputs.

A part of `studies/compare_with_originals.py`, for a Python environment with what Jasmine
needs: jax, flax below 0.12, einops, optax and orbax-checkpoint.

    python studies/originals/jasmine.py --code=~/jasmine --output=~/compare/jasmine
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.serialization import msgpack_serialize
from orbax.checkpoint import PyTreeCheckpointer

SIZES = {
    "in_dim": 3,
    "tokenizer_dim": 12,
    "tokenizer_ffn_dim": 20,
    "latent_patch_dim": 8,
    "num_patch_latents": 32,
    "patch_size": 4,
    "tokenizer_num_blocks": 2,
    "tokenizer_num_heads": 2,
    "lam_dim": 8,
    "lam_ffn_dim": 20,
    "latent_action_dim": 8,
    "num_actions": 5,
    "lam_patch_size": 6,
    "lam_num_blocks": 2,
    "lam_num_heads": 2,
    "lam_co_train": True,
    "dyna_type": "maskgit",
    "dyna_dim": 16,
    "dyna_ffn_dim": 24,
    "dyna_num_blocks": 2,
    "dyna_num_heads": 2,
    "param_dtype": jnp.float32,
    "dtype": jnp.float32,
    "use_flash_attention": False,
    "decode": False,
    "mask_limit": 0.5,
}
HEIGHT, WIDTH, FRAMES, BATCH, ROLLOUT = 8, 12, 5, 2, 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", required=True, help="clone of p-doom/jasmine")
    parser.add_argument("--output", required=True, help="output folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(arguments.code).expanduser()))
    output = Path(arguments.output).expanduser().resolve()
    output.mkdir(parents=True, exist_ok=True)
    for name, guided in (("genie", False), ("guided", True)):
        rng = np.random.default_rng(arguments.seed)
        genie = make(arguments.seed, guided, rng)
        np.savez_compressed(
            output / f"{name}.npz", **record(genie, arguments.seed, rng)
        )
        save(genie, output / name)
        if not guided:
            save(genie.tokenizer, output / "tokenizer")
            save(genie.lam, output / "lam")


def make(seed: int, guided: bool, rng: np.random.Generator):
    """Return a Genie with weights from a seed; no bias is zero and no scale one."""
    from jasmine.models.genie import GenieMaskGIT

    genie = GenieMaskGIT(**SIZES, use_gt_actions=guided, rngs=nnx.Rngs(seed))
    noisy = jax.tree.map(
        lambda x: x + 0.1 * rng.normal(size=x.shape).astype("float32"),
        nnx.state(genie, nnx.Param),
    )
    nnx.update(genie, noisy)
    return genie


def record(genie, seed: int, rng: np.random.Generator) -> dict:
    """Return inputs of a Genie and its outputs."""
    video = rng.random((BATCH, FRAMES, HEIGHT, WIDTH, 3), dtype="float32")
    actions = rng.integers(SIZES["num_actions"], size=(BATCH, FRAMES - 1))
    played = rng.integers(SIZES["num_actions"], size=(BATCH, ROLLOUT))
    batch = {"videos": video, "rng": jax.random.PRNGKey(seed)}
    recorded = {}
    if genie.use_gt_actions:
        # The action of a frame leads to the next one; the last has no effect.
        batch["actions"] = np.pad(actions, [(0, 0), (0, 1)])
    else:
        inferred = nnx.jit(lambda genie: genie.lam(batch, False))(genie)
        actions = np.reshape(inferred["indices"], (BATCH, FRAMES - 1))
        recorded["prediction"] = inferred["recon"]
    outputs = nnx.jit(lambda genie: genie(batch))(genie)
    tokenized = nnx.jit(lambda genie: genie.tokenizer(batch, False))(genie)
    start = {
        "videos": video[:, :1],
        "rng": batch["rng"],
        "actions": np.pad(played, [(0, 0), (0, 1)]),
        "latent_actions": played.reshape(-1),
    }
    frames, _ = genie.sample(start, 1 + ROLLOUT, sample_argmax=True, maskgit_steps=1)
    return {
        **recorded,
        "video": video,
        "tokens": outputs["video_tokens"],
        "reconstruction": tokenized["recon"],
        "actions": actions,
        "mask": outputs["mask"],
        "logits": outputs["token_logits"],
        "played": played,
        "rollout": frames[:, 1:],
    }


def save(model, path: Path) -> None:
    """Store a model as Jasmine's training scripts do, and its parameters in one file."""
    optimizer = nnx.ModelAndOptimizer(model, optax.adamw(1e-4))
    PyTreeCheckpointer().save(path, nnx.state(optimizer), force=True)
    parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    content = msgpack_serialize({"model": with_names(parameters)})
    path.with_suffix(".msgpack").write_bytes(content)


def with_names(tree):
    """Return nested dicts of arrays with strings as keys, also of the blocks."""
    if not isinstance(tree, dict):
        return np.asarray(tree)
    return {str(name): with_names(item) for name, item in tree.items()}


if __name__ == "__main__":
    main()
