"""Latent action model of Jafar on CoinRun, trained by itself (Willi et al. 2024, table 3).

genie-train --config=jafar_lam:paper --workdir=runs/actions

Not trained: no duration or score has been measured. As in Jafar's code, in layers and
numbers; an action that no clip used for 50 steps becomes a copy of one that was used, which
Jafar draws at random.
"""

from genie_tf.experiments.configs import coinrun_lam
from genie_tf.experiments.configs.common import choose_size, quantizer
from genie_tf.experiments.configs.jafar_tokenizer import blocks
from genie_tf.originals import JAFAR_ACTION_CODES, JAFAR_ACTIONS

_PAPER = coinrun_lam.SIZES["paper"]

SIZES = {
    "paper": {
        **_PAPER,
        "precision": "float32",
        "model": {
            **_PAPER["model"],
            **JAFAR_ACTIONS,
            "encoder": blocks(8),
            "decoder": blocks(8),
            "quantizer": quantizer(**JAFAR_ACTION_CODES),
        },
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
