"""Runs GenieRedux's own code: writes weights from a seed, inputs and outputs.

A part of `studies/compare_with_originals.py`, for a Python environment with what
GenieRedux needs, torch, einops and beartype, and safetensors. The code is that for CoinRun, on the
`neurips` branch.

    python studies/originals/genieredux.py --code=~/GenieRedux --output=~/compare/redux
"""

import argparse
import sys
import types
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors.torch import save_file

HEIGHT, WIDTH, FRAMES, BATCH, ROLLOUT = 8, 12, 5, 2, 4
CODES, ACTIONS, DIM, PATCH = 32, 5, 12, 4
SIZES = {
    "dim": DIM,
    "image_size": (HEIGHT, WIDTH),
    "patch_size": PATCH,
    "temporal_patch_size": 1,
    "num_blocks": 2,
    "codebook_dim": 8,
    "dim_head": 4,
    "heads": 2,
    "ff_mult": 2.0,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", required=True, help="clone of GenieRedux, neurips")
    parser.add_argument("--output", required=True, help="output folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(arguments.code).expanduser()))
    # The models import a helper that prints, from a module that needs the data loader.
    utils = types.ModuleType("utils.utils")
    utils.debug = print
    sys.modules["utils.utils"] = utils
    from models import (
        Dynamics,
        GenieRedux,
        GenieReduxGuided,
        LatentActionModel,
        MaskGit,
        Tokenizer,
    )

    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    output = Path(arguments.output).expanduser().resolve()
    output.mkdir(parents=True, exist_ok=True)
    video = rng.random((BATCH, FRAMES, HEIGHT, WIDTH, 3), dtype="float32")
    frames = torch.tensor(video).permute(0, 4, 1, 2, 3)
    played = rng.integers(ACTIONS, size=(BATCH, ROLLOUT))

    def shaken(model):
        """Move all weights, so that no bias stays zero and no scale one."""
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
        return model.eval()

    def save(name, model):
        """Write a checkpoint as GenieRedux does, and as safetensors."""
        state = model.state_dict()
        torch.save({"step": 0, "model": state}, output / f"{name}.pt")
        flat = {}
        for part, value in state.items():
            if isinstance(value, dict):
                flat |= {f"{part}/{below}": x for below, x in value.items()}
            else:
                flat[part] = value
        flat = {f"model/{key}": x.clone() for key, x in flat.items()}
        save_file(flat, output / f"{name}.safetensors")

    def channels_last(video):
        return rearrange(video, "b c t h w -> b t h w c").numpy()

    def maskgit(guided):
        return MaskGit(
            dim=DIM,
            is_guided=guided,
            action_dim=ACTIONS if guided else None,
            num_tokens=CODES,
            heads=2,
            dim_head=4,
            num_blocks=2,
            ff_mult=2.0,
            max_seq_len=12 * HEIGHT * WIDTH // PATCH**2,
            image_size=(HEIGHT, WIDTH),
            patch_size=PATCH,
        )

    tokenizer = shaken(Tokenizer(codebook_size=CODES, **SIZES))
    lam = shaken(LatentActionModel(codebook_size=ACTIONS, **SIZES))
    worlds = {
        "main": GenieRedux(
            tokenizer, lam, Dynamics(maskgit=shaken(maskgit(False)), inference_steps=1)
        ),
        "guided": GenieReduxGuided(
            tokenizer, Dynamics(maskgit=shaken(maskgit(True)), inference_steps=1)
        ),
    }
    with torch.no_grad():
        tokens = tokenizer(frames, return_only_codebook_ids=True)
        mask = torch.rand(tokens.shape) < 0.6
        hidden = torch.where(mask, CODES, tokens)[:, :-1]
        inferred = lam(frames, return_only_codebook_ids=True)
        common = {
            "video": video,
            "tokens": rearrange(tokens, "b t h w -> b t (h w)").numpy(),
            "reconstruction": channels_last(tokenizer(frames, return_recons_only=True)),
            "mask": rearrange(mask, "b t h w -> b t (h w)").numpy(),
            "played": played,
        }
        for name, world in worlds.items():
            recorded = dict(common)
            if name == "main":
                recorded["actions"] = inferred.numpy()
                recorded["prediction"] = channels_last(
                    lam(frames, return_recons_only=True)
                )
                taken = inferred
                actions = lam(frames, return_tokens_only=True)
            else:
                taken = torch.tensor(rng.integers(ACTIONS, size=(BATCH, FRAMES - 1)))
                recorded["actions"] = taken.numpy()
                actions = world.get_codes_from_indices(taken)
            logits = world.dynamics.maskgit(hidden, actions)
            recorded["logits"] = rearrange(
                logits, "b (t n) k -> b t n k", t=FRAMES - 1
            ).numpy()
            frame, new_tokens = world.generate_interactive_video(
                prime_frames=frames[:, :, :1],
                actions=torch.tensor(played),
                num_frames=ROLLOUT,
                dream_length=1,
                return_tokens=True,
            )
            recorded["rollout"] = channels_last(frame)
            recorded["rollout_tokens"] = rearrange(
                new_tokens, "b t h w -> b t (h w)"
            ).numpy()
            save(name, world)
            np.savez_compressed(output / f"{name}.npz", **recorded)
    save("tokenizer", tokenizer)


if __name__ == "__main__":
    main()
