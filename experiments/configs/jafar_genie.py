"""Dynamics of Jafar on CoinRun (Willi et al. 2024, table 2).

genie-train --config=jafar_genie:patch16 --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model --config.action_model=runs/actions/model

The latent action model is that of `jafar_lam`, which Jafar trains first, by itself.
Without `action_model`, both are trained together, as in Genie. `patch16` is for the
paper's tokenizer, with its 8 blocks; `patch4` for that of the code, with 12. Neither has
been trained: no duration or score has been measured. Layers and numbers are as in
`jafar_tokenizer`.
"""

from genie_tf.experiments.configs import coinrun_genie, jafar_lam
from genie_tf.experiments.configs.common import choose_size, published_dynamics
from genie_tf.experiments.configs.jafar_tokenizer import blocks


def _genie(num_blocks: int) -> dict:
    """Return Genie's settings for CoinRun with Jafar's models."""
    return {
        **coinrun_genie.SIZES["paper"],
        "precision": "float32",
        "latent_action_model": jafar_lam.SIZES["paper"]["model"],
        "dynamics": published_dynamics(blocks(num_blocks)),
    }


SIZES = {"patch16": _genie(num_blocks=8), "patch4": _genie(num_blocks=12)}


def get_config(size: str = "patch16"):
    return choose_size(size, **SIZES)
