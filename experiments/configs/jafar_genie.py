"""Latent action model and dynamics of Jafar on CoinRun (Willi et al. 2024, tables 2, 3).

genie-train --config=jafar_genie:patch16 --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model

`patch16` is for the paper's tokenizer, with its 8 blocks; `patch4` for that of the
code, with 12. Neither has been trained: no duration or score has been measured.

Jafar trains the latent action model first, by itself; here, both parts are trained
together, as in Genie. The feed-forward is as in `jafar_tokenizer`.
"""

from genie_tf.experiments.configs import coinrun_genie
from genie_tf.experiments.configs.common import (
    choose_size,
    maskgit_dynamics,
    transformer,
)

_ACTION_MODEL = transformer(512, 8, 8, mlp_dim=256)


def _genie(num_blocks: int) -> dict:
    """Return Genie's settings for CoinRun with another depth and feed-forward."""
    paper = coinrun_genie.SIZES["paper"]
    return {
        **paper,
        "latent_action_model": {
            **paper["latent_action_model"],
            "encoder": _ACTION_MODEL,
            "decoder": _ACTION_MODEL,
        },
        "dynamics": maskgit_dynamics(transformer(512, num_blocks, 8, mlp_dim=256)),
    }


SIZES = {"patch16": _genie(num_blocks=8), "patch4": _genie(num_blocks=12)}


def get_config(size: str = "patch16"):
    return choose_size(size, **SIZES)
