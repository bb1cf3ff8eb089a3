"""Video tokenizer of GenieRedux on CoinRun (Kazemi et al. 2024, tables 4 and 7).

genie-train --config=genieredux_tokenizer:paper --workdir=runs/tokenizer

Not trained: no duration or score has been measured. Adam with weight decay is AdamW in
the code. The paper does not mention that the code also clips gradients
(`--config.clip_norm=10`) and does not decay biases and norms.

The layers are those of the code, with which `genie-convert` loads its checkpoints
(docs/originals.md); precision is bfloat16, as in the code. So that a batch fits on few
devices, activations are recomputed. With another `frame_shape` or `patch_size`, also set
`grid` in the options of all transformers, for example
`--config.model.encoder.options.grid="(8, 8)"`.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED,
    choose_size,
    quantizer,
    transformer,
)
from genie_tf.originals import (
    GENIEREDUX_CODES,
    GENIEREDUX_ORDERS,
    GENIEREDUX_TOKENIZER,
    GENIEREDUX_TRANSFORMER,
)

# The optimizer and the schedule of all models, except the steps of the decay.
TRAINING = {
    "dataset": "coinrun/genieredux",
    "clip_length": 16,
    "batch_size": 84,
    "precision": "mixed_bfloat16",
    "remat": True,
    "clip_norm": None,
    "optimizer": {**PUBLISHED["optimizer"], "beta_2": 0.99},
}
SCHEDULE = {
    "peak": 1e-4,
    "final": 5e-5,
    "warmup_steps": 5_000,
    "warmup_from": 0.5,
    "shape": "cosine",
}


def blocks(
    num_blocks: int,
    part: str = "encoder",
    *,
    dim: int = 512,
    space_bias_dim: int = 512,
    window: int = 16,
) -> dict:
    """Return the arguments of a transformer of GenieRedux, for 16x16 patches.

    Args:
        num_blocks: number of blocks.
        part: "encoder", whose order the dynamics has too, or "decoder".
        dim: width of the tokens.
        space_bias_dim: width of the network that makes the bias of spatial attention.
        window: frames that a frame attends to.
    """
    return transformer(
        dim,
        num_blocks,
        8,
        head_dim=64,
        mlp_dim=8 * dim // 3,
        qk_norm="unit",
        window=window,
        options={
            **GENIEREDUX_TRANSFORMER,
            "grid": (16, 16),
            "space_bias_dim": space_bias_dim,
            "order": GENIEREDUX_ORDERS[part],
        },
    )


SIZES = {
    "paper": {
        **TRAINING,
        "stage": "tokenizer",
        "steps": 100_000,
        "model": {
            **GENIEREDUX_TOKENIZER,
            "frame_shape": (64, 64, 3),
            "patch_size": 4,
            "num_codes": 1024,
            "code_dim": 32,
            "encoder": blocks(8),
            "decoder": blocks(8, "decoder"),
            "quantizer": quantizer(**GENIEREDUX_CODES),
        },
        "schedule": {**SCHEDULE, "decay_steps": 95_000},
    },
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
