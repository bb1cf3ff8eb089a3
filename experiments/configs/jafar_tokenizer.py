"""Video tokenizer of Jafar on CoinRun (Willi et al. 2024, table 4).

genie-train --config=jafar_tokenizer:patch16 --workdir=runs/tokenizer

`patch16` is the tokenizer of the paper, `patch4` that of the code.
Neither has been trained: no duration or score has been measured.

The layers are those of the code, with which `genie-convert` loads its checkpoints
(docs/originals.md). As in the code, 1% of the similarities to codes are dropped,
activations are recomputed, and the numbers are float32.
"""

from genie_tf.experiments.configs import coinrun_tokenizer
from genie_tf.experiments.configs.common import choose_size, quantizer, transformer
from genie_tf.originals import JAFAR_CODES, JAFAR_TRANSFORMER


def blocks(num_blocks: int) -> dict:
    """Return the arguments of a transformer of Jafar."""
    return transformer(512, num_blocks, 8, mlp_dim=512, options=JAFAR_TRANSFORMER)


def _tokenizer(patch_size: int) -> dict:
    """Return Genie's settings for CoinRun with Jafar's layers."""
    paper = coinrun_tokenizer.SIZES["paper"]
    return {
        **paper,
        "precision": "float32",
        "model": {
            **paper["model"],
            "patch_size": patch_size,
            "encoder": blocks(8),
            "decoder": blocks(8),
            "quantizer": quantizer(**JAFAR_CODES),
        },
    }


SIZES = {"patch16": _tokenizer(16), "patch4": _tokenizer(4)}


def get_config(size: str = "patch16"):
    return choose_size(size, **SIZES)
