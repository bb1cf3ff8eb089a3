"""Latent action model of Jafar on CoinRun, trained by itself (Willi et al. 2024, table 3).

genie-train --config=jafar_lam:paper --workdir=runs/actions

Not trained: no duration or score has been measured. The feed-forward and the numbers are
as in `jafar_tokenizer`. As in Jafar's code, an action that no clip used for 50 steps
becomes a copy of one that was used; Jafar draws that one at random.
"""

from genie_tf.experiments.configs import coinrun_lam
from genie_tf.experiments.configs.common import (
    choose_size,
    published_quantizer,
    transformer,
)

_PAPER = coinrun_lam.SIZES["paper"]
_BLOCKS = transformer(512, 8, 8, mlp_dim=256)

SIZES = {
    "paper": {
        **_PAPER,
        "precision": "float32",
        "model": {
            **_PAPER["model"],
            "encoder": _BLOCKS,
            "decoder": _BLOCKS,
            "quantizer": published_quantizer("cosine", idle_limit=49, move_to="codes"),
        },
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
