"""Dynamics of GenieRedux-G on CoinRun, driven by true actions (Kazemi et al. 2024).

genie-train --config=genieredux_guided:paper --workdir=runs/guided \
    --config.tokenizer=runs/tokenizer/model

The action enters as a one-hot vector next to the 512 numbers of each token. Not trained:
no duration or score has been measured. The data have seven actions, as in the paper, which
does not list them; its code plays the first CoinRun, which has seven. All other settings
are as in `genieredux_genie`, except that 15 frames have a position, not 31; its latent
action model is not used.
"""

from genie_tf.experiments.configs import genieredux_genie
from genie_tf.experiments.configs.common import choose_size

SIZES = {
    "paper": {
        **genieredux_genie.SIZES["paper"],
        "dataset": "coinrun/genieredux_7",
        "num_true_actions": 7,
        "dynamics": genieredux_genie.dynamics(
            max_frames=15, dim=512 + 7, conditioning="concat"
        ),
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
