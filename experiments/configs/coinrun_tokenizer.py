"""Video tokenizer on CoinRun; `paper` is that of Genie, appendix F.

genie-train --config=coinrun_tokenizer:tiny --workdir=runs/tokenizer

`tiny`: 2.7 minutes on 2 CPU cores; PSNR 24.3 dB, SSIM 0.63 on test levels.
`fast`: 6.6 minutes; PSNR 26.6 dB, SSIM 0.76.
`plain_tiny` is `tiny` with the model and the optimizer of `paper`; no score has been
measured.
`paper` has not been trained to the end yet: no score has been measured. It computes in
bfloat16 and recomputes activations, so that it fits in 16 GB, as in the paper.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED,
    choose_size,
    published_quantizer,
    transformer,
)

_TINY = {
    "stage": "tokenizer",
    "dataset": "coinrun/random_hard_small",
    "clip_length": 4,
    "batch_size": 8,
    "steps": 550,
    "model": {
        "frame_shape": (64, 64, 3),
        "patch_size": 8,
        "num_codes": 1024,
        "code_dim": 32,
        "encoder": transformer(128, 2, 4, window=1),
        "decoder": transformer(128, 2, 4, window=4),
    },
    "schedule": {"peak": 2e-3, "warmup_steps": 50, "decay_steps": 220},
    "optimizer": {"name": "muon", "beta_2": 0.99},
}

SIZES = {
    "paper": {
        **PUBLISHED,
        "stage": "tokenizer",
        "dataset": "coinrun/random_hard",
        "clip_length": 16,
        "batch_size": 48,
        "steps": 300_000,
        "precision": "mixed_bfloat16",
        "remat": True,
        "model": {
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_codes": 1024,
            "code_dim": 32,
            "encoder": transformer(512, 8, 8),
            "decoder": transformer(512, 8, 8),
            "quantizer": published_quantizer(),
        },
        "schedule": {"peak": 3e-4, "warmup_steps": 10_000},
    },
    "fast": {
        **_TINY,
        "steps": 2_400,
        "schedule": {"peak": 2e-3, "warmup_steps": 50, "decay_steps": 960},
    },
    "tiny": _TINY,
    "plain_tiny": {
        **_TINY,
        **PUBLISHED,
        "model": {
            **_TINY["model"],
            "encoder": transformer(128, 2, 4),
            "decoder": transformer(128, 2, 4),
            "quantizer": published_quantizer(),
        },
    },
}


def get_config(size: str = "fast"):
    return choose_size(size, **SIZES)
