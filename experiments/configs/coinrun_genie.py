"""Dynamics on CoinRun, driven by the latent actions of coinrun_lam.py.

genie-train --config=coinrun_genie:tiny --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model --config.action_model=runs/actions/model

Without `action_model`, both are trained together (Genie, appendix F). On two CPU cores,
with the `fast` tokenizer, on 256 clips of test levels:
`tiny`: dPSNR_4 3.8 dB (3.4 to 4.2), PSNR of ten predicted frames 19.8 dB (19.4 to 20.3).
`fast`, on data of a policy that holds keys: 12 minutes;
6.0 dB (5.5 to 6.5), PSNR 22.7 dB (22.1 to 23.2). With six actions (see coinrun_lam.py)
and --config.dataset=coinrun/random_hard_small: 16 minutes; 6.3 dB (5.8 to 6.8), PSNR
22.1 dB (21.6 to 22.6).
`plain_tiny` is `tiny` with the models and the optimizer of `paper`, trained together; no
score has been measured.
`paper` has not been trained to the end yet: no duration or score has been measured. It
computes in bfloat16 and recomputes activations, so that it fits in 16 GB, as in the
paper.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED,
    PUBLISHED_ACTIONS,
    choose_size,
    maskgit_dynamics,
    published_dynamics,
    published_quantizer,
    quantizer,
    transformer,
)

_TINY = {
    "stage": "genie",
    "tokenizer": "",
    "dataset": "coinrun/random_hard_small",
    "clip_length": 4,
    "batch_size": 8,
    "steps": 700,
    "latent_action_model": {
        "frame_shape": (64, 64, 3),
        "patch_size": 8,
        "num_actions": 6,
        "action_dim": 32,
        "encoder": transformer(128, 1, 4, window=2),
        "decoder": transformer(128, 2, 4, window=1),
        "quantizer": quantizer(quantize_after=350),
    },
    "dynamics": maskgit_dynamics(transformer(128, 4, 4, qk_norm=True, window=4)),
    "schedule": {"peak": 2e-3, "warmup_steps": 50, "decay_steps": 280},
    "optimizer": {"name": "muon", "beta_2": 0.99},
}

_FAST = {
    **_TINY,
    "dataset": "coinrun/held_hard_small",
    "steps": 3_500,
    "latent_action_model": {
        **_TINY["latent_action_model"],
        "num_actions": 8,
        "quantizer": quantizer(quantize_after=1_750),
    },
    "dynamics": maskgit_dynamics(transformer(192, 4, 4, qk_norm=True, window=4)),
    "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 1_400},
}

SIZES = {
    "paper": {
        **PUBLISHED,
        "stage": "genie",
        "tokenizer": "",
        "dataset": "coinrun/random_hard",
        "clip_length": 16,
        "batch_size": 36,
        "steps": 200_000,
        "precision": "mixed_bfloat16",
        "remat": True,
        "latent_action_model": {
            **PUBLISHED_ACTIONS,
            "frame_shape": (64, 64, 3),
            "patch_size": 16,
            "num_actions": 6,
            "action_dim": 32,
            "encoder": transformer(512, 8, 8),
            "decoder": transformer(512, 8, 8),
            "quantizer": published_quantizer(),
        },
        "dynamics": published_dynamics(transformer(512, 12, 8, qk_norm=True)),
        "schedule": {
            "peak": 3e-5,
            "final": 3e-6,
            "warmup_steps": 5_000,
            "decay_steps": 195_000,
            "shape": "cosine",
        },
    },
    "fast": _FAST,
    "tiny": _TINY,
    "plain_tiny": {
        **_TINY,
        **PUBLISHED,
        "latent_action_model": {
            **_TINY["latent_action_model"],
            **PUBLISHED_ACTIONS,
            "patch_size": 16,
            "encoder": transformer(128, 1, 4),
            "decoder": transformer(128, 2, 4),
            "quantizer": published_quantizer(),
        },
        "dynamics": published_dynamics(transformer(128, 4, 4, qk_norm=True)),
    },
}


def get_config(size: str = "fast"):
    return choose_size(size, **SIZES)
