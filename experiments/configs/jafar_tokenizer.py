"""Video tokenizer of Jafar on CoinRun (Willi et al. 2024, table 4).

genie-train --config=jafar_tokenizer:patch16 --workdir=runs/tokenizer

`patch16` is the tokenizer of the paper, `patch4` that of the code.
Neither has been trained: no duration or score has been measured.

The paper does not report the width of the feed-forward. In the code it is a single
matrix, 512 x 512; here it is 512 x 256 and 256 x 512, the same number of parameters.
As in the code, codes are compared by cosine, activations are recomputed, and the numbers
are float32.
"""

from genie_tf.experiments.configs import coinrun_tokenizer
from genie_tf.experiments.configs.common import (
    choose_size,
    published_quantizer,
    transformer,
)

_BLOCKS = transformer(512, 8, 8, mlp_dim=256)


def _tokenizer(patch_size: int) -> dict:
    """Return Genie's settings for CoinRun with other patches and feed-forward."""
    paper = coinrun_tokenizer.SIZES["paper"]
    return {
        **paper,
        "precision": "float32",
        "model": {
            **paper["model"],
            "patch_size": patch_size,
            "encoder": _BLOCKS,
            "decoder": _BLOCKS,
            "quantizer": published_quantizer("cosine"),
        },
    }


SIZES = {"patch16": _tokenizer(16), "patch4": _tokenizer(4)}


def get_config(size: str = "patch16"):
    return choose_size(size, **SIZES)
