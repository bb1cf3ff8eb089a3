"""Video tokenizer of GenieRedux on CoinRun (Kazemi et al. 2024, tables 4 and 7).

genie-train --config=genieredux_tokenizer:paper --workdir=runs/tokenizer

Not trained: no duration or score has been measured. Adam with weight decay is AdamW in
the code. The paper does not mention that the code also clips gradients
(`--config.clip_norm=10`) and does not decay biases and norms.

The paper does not report the width of the feed-forward. In its code the feed-forward is
gated and has 8 x width^2 parameters, as many as one of 4 times the width without a
gate, which is used here. As in the code, codes are compared by cosine and never moved, and
the precision is bfloat16. So that a batch fits on few devices, activations are recomputed.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED,
    choose_size,
    published_quantizer,
    transformer,
)

# The optimizer and the schedule of all models, except the steps of the decay.
TRAINING = {
    "dataset": "coinrun/genieredux",
    "clip_length": 16,
    "batch_size": 84,
    "precision": "mixed_bfloat16",
    "remat": True,
    "clip_norm": None,
    "optimizer": {**PUBLISHED["optimizer"], "beta_2": 0.99},
}
SCHEDULE = {
    "peak": 1e-4,
    "final": 5e-5,
    "warmup_steps": 5_000,
    "warmup_from": 0.5,
    "shape": "cosine",
}

SIZES = {
    "paper": {
        **TRAINING,
        "stage": "tokenizer",
        "steps": 100_000,
        "model": {
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_codes": 1024,
            "code_dim": 32,
            "encoder": transformer(512, 8, 8),
            "decoder": transformer(512, 8, 8),
            "quantizer": published_quantizer("cosine"),
        },
        "schedule": {**SCHEDULE, "decay_steps": 95_000},
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
