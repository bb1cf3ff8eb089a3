"""Latent action model and dynamics of GenieRedux on CoinRun.

From Kazemi et al. 2024, tables 5 to 7.

genie-train --config=genieredux_genie:paper --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model

Not trained: no duration or score has been measured. Optimizer, feed-forward and codes are
as in `genieredux_tokenizer`.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED_ACTIONS,
    choose_size,
    published_dynamics,
    published_quantizer,
    transformer,
)
from genie_tf.experiments.configs.genieredux_tokenizer import SCHEDULE, TRAINING

SIZES = {
    "paper": {
        **TRAINING,
        "stage": "genie",
        "tokenizer": "",
        "steps": 150_000,
        "latent_action_model": {
            **PUBLISHED_ACTIONS,
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_actions": 7,
            "action_dim": 32,
            "encoder": transformer(512, 8, 8),
            "decoder": transformer(512, 8, 8),
            "quantizer": published_quantizer("cosine"),
        },
        "dynamics": published_dynamics(transformer(512, 12, 8, qk_norm=True)),
        "schedule": {**SCHEDULE, "decay_steps": 145_000},
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
