"""Latent action model and dynamics of GenieRedux on CoinRun.

From Kazemi et al. 2024, tables 5 to 7.

genie-train --config=genieredux_genie:paper --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model

Not trained: no duration or score has been measured. Optimizer and layers are as in
`genieredux_tokenizer`. The paper samples a frame in 25 steps; its code takes one, without
chance, as here.
"""

from genie_tf.experiments.configs.common import choose_size, quantizer
from genie_tf.experiments.configs.genieredux_tokenizer import SCHEDULE, TRAINING, blocks
from genie_tf.originals import (
    GENIEREDUX_ACTIONS,
    GENIEREDUX_CODES,
    GENIEREDUX_SAMPLING,
)


def dynamics(max_frames: int, *, dim: int = 512, conditioning: str = "add") -> dict:
    """Return the arguments of a `ReduxDynamics`, except those its world passes."""
    return {
        "class_name": "ReduxDynamics",
        "transformer": blocks(12, dim=dim, space_bias_dim=64, window=max_frames),
        "max_frames": max_frames,
        "conditioning": conditioning,
        "mask_rates": (0.5, 1.0),
        "sampling": {"top_k": 0, **GENIEREDUX_SAMPLING},
    }


SIZES = {
    "paper": {
        **TRAINING,
        "stage": "genie",
        "tokenizer": "",
        "steps": 150_000,
        "latent_action_model": {
            **GENIEREDUX_ACTIONS,
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_actions": 7,
            "action_dim": 32,
            "encoder": blocks(8),
            "decoder": blocks(8, "decoder"),
            "quantizer": quantizer(**GENIEREDUX_CODES),
        },
        "dynamics": dynamics(max_frames=31),
        "schedule": {**SCHEDULE, "decay_steps": 145_000},
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
