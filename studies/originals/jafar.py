"""Runs Jafar's own code: writes weights from a seed, inputs and outputs.

A part of `studies/compare_with_originals.py`, for a Python environment with what Jafar
needs: jax, flax, einops, dm_pix and orbax-checkpoint.

    python studies/originals/jafar.py --code=~/jafar --output=~/compare/jafar
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np
from flax.serialization import to_bytes
from orbax.checkpoint import PyTreeCheckpointer

SIZES = {
    "in_dim": 3,
    "tokenizer_dim": 12,
    "latent_patch_dim": 8,
    "num_patch_latents": 32,
    "patch_size": 4,
    "tokenizer_num_blocks": 2,
    "tokenizer_num_heads": 2,
    "lam_dim": 8,
    "latent_action_dim": 8,
    "num_latent_actions": 5,
    "lam_patch_size": 6,
    "lam_num_blocks": 2,
    "lam_num_heads": 2,
    "dyna_dim": 16,
    "dyna_num_blocks": 2,
    "dyna_num_heads": 2,
    "mask_limit": 0.5,
}
HEIGHT, WIDTH, FRAMES, BATCH, ROLLOUT = 8, 12, 5, 2, 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", required=True, help="clone of FLAIROx/jafar")
    parser.add_argument("--output", required=True, help="output folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(arguments.code).expanduser()))
    from genie import Genie
    from models.lam import LatentActionModel

    rng = np.random.default_rng(arguments.seed)
    video = rng.random((BATCH, FRAMES, HEIGHT, WIDTH, 3), dtype="float32")
    genie = Genie(**SIZES)
    batch = {"videos": video, "mask_rng": jax.random.PRNGKey(arguments.seed)}
    params = jax.jit(genie.init)(jax.random.PRNGKey(arguments.seed), batch)
    # Jafar trains the latent action model first; a Genie makes only its encoder.
    lam = LatentActionModel(
        in_dim=SIZES["in_dim"],
        model_dim=SIZES["lam_dim"],
        latent_dim=SIZES["latent_patch_dim"],
        num_latents=SIZES["num_latent_actions"],
        patch_size=SIZES["lam_patch_size"],
        num_blocks=SIZES["lam_num_blocks"],
        num_heads=SIZES["lam_num_heads"],
        dropout=0.0,
        codebook_dropout=0.0,
    )
    trained = jax.jit(lambda key: lam.init(key, batch, False))(
        jax.random.PRNGKey(arguments.seed + 1)
    )
    params["params"]["lam"] = trained["params"]
    # So that no bias stays zero and no scale one.
    params = jax.tree.map(
        lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype("float32"),
        params,
    )

    def tokenizer(genie, batch):
        return genie.tokenizer(batch, False)

    def latent_action_model(genie, batch):
        return genie.lam(batch, False)

    @jax.jit
    def call(params):
        return (
            genie.apply(params, batch, True),
            genie.apply(params, batch, method=tokenizer),
            genie.apply(params, batch, method=latent_action_model),
        )

    outputs, tokenized, inferred = call(params)
    actions = rng.integers(SIZES["num_latent_actions"], size=(BATCH, ROLLOUT, 1))

    @jax.jit
    def sample(params, batch):
        """Sample a frame in one step, greedily."""
        return genie.apply(params, batch, 1, 1.0, True, method=Genie.sample)

    def rollout():
        frames = video[:, :1]
        for i in range(ROLLOUT):
            batch = {
                "videos": frames,
                "latent_actions": actions[:, : i + 1],
                "rng": jax.random.PRNGKey(0),
            }
            frame = sample(params, batch)
            frames = np.concatenate([frames, frame], axis=1)
        return frames[:, 1:]

    output = Path(arguments.output).expanduser().resolve()
    output.mkdir(parents=True, exist_ok=True)
    parts = {
        "tokenizer": params["params"]["tokenizer"],
        "lam": params["params"]["lam"],
        "genie": params["params"],
    }
    for name, part in parts.items():
        # As Jafar's training scripts store it: a train state.
        PyTreeCheckpointer().save(
            output / name,
            {"model": {"step": 0, "params": {"params": part}}},
            force=True,
        )
    (output / "genie.msgpack").write_bytes(to_bytes(params))
    np.savez_compressed(
        output / "genie.npz",
        video=video,
        tokens=outputs["video_tokens"],
        reconstruction=tokenized["recon"],
        actions=np.reshape(inferred["indices"], (BATCH, FRAMES - 1)),
        prediction=inferred["recon"],
        mask=outputs["mask"],
        logits=outputs["token_logits"],
        played=actions[..., 0],
        rollout=rollout(),
    )


if __name__ == "__main__":
    main()
