"""Autoregressive dynamics on CoinRun, a baseline for MaskGIT.

genie-train --config=coinrun_causal:tiny --workdir=runs/causal \
    --config.tokenizer=runs/tokenizer/model --config.action_model=runs/actions/model

All other settings are as in coinrun_genie.py. Neither size has been trained to the end:
no duration or score has been measured.
"""

from genie_tf.experiments.configs import coinrun_genie
from genie_tf.experiments.configs.common import choose_size, transformer

SIZES = {
    name: {
        **coinrun_genie.SIZES[name],
        "dynamics": {
            "class_name": "CausalDynamics",
            "transformer": transformer(
                width, 4, 4, qk_norm=True, window=4, attention="space_time"
            ),
        },
    }
    for name, width in (("fast", 192), ("tiny", 128))
}


def get_config(size: str = "fast"):
    return choose_size(size, **SIZES)
