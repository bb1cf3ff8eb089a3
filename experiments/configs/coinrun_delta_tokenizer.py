"""Tokenizer of changes on CoinRun: what moved, what stays and what is new.

genie-train --config=coinrun_delta_tokenizer:tiny --workdir=runs/tokenizer

`full`, on 64 test clips of coinrun/random_hard_small: PSNR 30.7 dB (30.2 to 31.3), SSIM
0.817; 2.4 hours on two CPU cores, next to other work. `tiny`, in the demo: 7 minutes next
to other work. `fast` and `large` have not been measured.
"""

from genie_tf.experiments.configs.common import choose_size, quantizer, transformer

_TINY = {
    "stage": "tokenizer",
    "dataset": "coinrun/held_hard_small",
    "clip_length": 9,
    "batch_size": 4,
    "steps": 800,
    "model": {
        "class_name": "DeltaTokenizer",
        "frame_shape": (64, 64, 3),
        "patch_size": 8,
        "num_codes": 1000,
        "code_dim": 4,
        "depth": 4,
        "encoder": transformer(128, 1, 4, attention="space"),
        "decoder": transformer(128, 2, 4, attention="space"),
        "quantizer": quantizer(levels=(8, 5, 5, 5)),
        "reach": (8, 4),
        "margin": 32,
        "tolerance": 1.5e-3,
    },
    "schedule": {"peak": 2e-3, "warmup_steps": 50, "decay_steps": 320},
    "optimizer": {"name": "muon", "beta_2": 0.99},
}

SIZES = {
    "large": {
        **_TINY,
        "dataset": "coinrun/mixed_hard",
        "clip_length": 17,
        "batch_size": 16,
        "steps": 20_000,
        "model": {
            **_TINY["model"],
            "encoder": transformer(256, 2, 8, attention="space"),
            "decoder": transformer(256, 4, 8, attention="space"),
        },
        "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 10_000},
    },
    "full": {
        **_TINY,
        "dataset": "coinrun/mixed_hard",
        "clip_length": 17,
        "steps": 6_000,
        "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 3_000},
    },
    "fast": {
        **_TINY,
        "dataset": "coinrun/mixed_hard",
        "clip_length": 17,
        "steps": 2_000,
        "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 800},
    },
    "tiny": _TINY,
}


def get_config(size: str = "full"):
    return choose_size(size, **SIZES)
