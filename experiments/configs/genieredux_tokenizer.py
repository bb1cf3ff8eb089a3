"""Video tokenizer of GenieRedux on CoinRun (Kazemi et al. 2024, tables 4 and 7).

genie-train --config=genieredux_tokenizer:paper \
    --workdir=runs/tokenizer

Not trained: no duration or score has been measured. The data come from Genie's random
policy, not from GenieRedux's random episodes.

The paper does not report the width of the feed-forward. In its code the feed-forward is
gated and has 8 x width^2 parameters, as many as one of 4 times the width without a
gate, which is used here.
"""

from genie_tf.experiments.configs.common import choose_size, transformer

SIZES = {
    "paper": {
        "stage": "tokenizer",
        "dataset": "coinrun/random_hard",
        "clip_length": 16,
        "batch_size": 84,
        "steps": 100_000,
        "model": {
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_codes": 1024,
            "code_dim": 32,
            "encoder": transformer(512, 8, 8),
            "decoder": transformer(512, 8, 8),
        },
        "schedule": {
            "peak": 1e-4,
            "final": 5e-5,
            "warmup_steps": 5_000,
            "warmup_from": 0.5,
            "decay_steps": 95_000,
            "shape": "cosine",
        },
        "optimizer": {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": 1e-4},
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
