"""Latent action model and dynamics of GenieRedux on CoinRun.

From Kazemi et al. 2024, tables 5 to 7.

genie-train --config=genieredux_genie:paper --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model

Not trained: no duration or score has been measured. Data and feed-forward are as in
`genieredux_tokenizer`.
"""

from genie_tf.experiments.configs.common import (
    choose_size,
    maskgit_dynamics,
    transformer,
)

SIZES = {
    "paper": {
        "stage": "genie",
        "tokenizer": "",
        "dataset": "coinrun/random_hard",
        "clip_length": 16,
        "batch_size": 84,
        "steps": 150_000,
        "latent_action_model": {
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_actions": 7,
            "action_dim": 32,
            "encoder": transformer(512, 8, 8),
            "decoder": transformer(512, 8, 8),
        },
        "dynamics": maskgit_dynamics(transformer(512, 12, 8, qk_norm=True)),
        "schedule": {
            "peak": 1e-4,
            "final": 5e-5,
            "warmup_steps": 5_000,
            "warmup_from": 0.5,
            "decay_steps": 145_000,
            "shape": "cosine",
        },
        "optimizer": {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": 1e-4},
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
