"""Video tokenizers on Platformers (Genie, appendix C.2 and section 3.4).

genie-train --config=platformers_tokenizer:paper \
    --workdir=runs/tokenizer --config.dataset=NAME

`paper` is Genie's own, and `batch_64` the same with the smaller batch of table 6.
`st_vivit`, `vit` and `c_vivit` are the comparison of
tokenizers: attention alternates over space and time, is over space only, or over both
jointly.

None of these has been trained. The data are not public: NAME is a TFDS dataset of RLDS
episodes of 160x90 pixels, 10 frames per second. Frames are padded with black at the
bottom, to 40x23 patches of 4 pixels: 920 tokens per frame, as in the paper.

The paper does not report the width of the feed-forward. Its 200M parameters for `paper`
leave room for an eighth of the model's width. For the comparison it reports parameter
counts, not sizes; here, depth and width are those of `paper`, and the feed-forwards
make up the difference.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED,
    choose_size,
    published_quantizer,
    transformer,
)


def _tokenizer(
    patch_size: int,
    batch_size: int,
    mlp_ratio: float,
    attention: str = "st",
) -> dict:
    def blocks(dim: int, num_blocks: int, num_heads: int) -> dict:
        return transformer(
            dim,
            num_blocks,
            num_heads,
            head_dim=64,
            mlp_dim=int(mlp_ratio * dim),
            attention=attention,
        )

    return {
        **PUBLISHED,
        "stage": "tokenizer",
        "dataset": "platformers",
        "clip_length": 16,
        "batch_size": batch_size,
        "steps": 300_000,
        "model": {
            "frame_shape": (90, 160, 3),
            "patch_size": patch_size,
            "num_codes": 1024,
            "code_dim": 32,
            "encoder": blocks(512, 12, 8),
            "decoder": blocks(1024, 20, 16),
            "quantizer": published_quantizer(),
        },
        "schedule": {"peak": 3e-4, "warmup_steps": 10_000},
    }


SIZES = {
    "paper": _tokenizer(patch_size=4, batch_size=384, mlp_ratio=1 / 8),
    "batch_64": _tokenizer(patch_size=4, batch_size=64, mlp_ratio=1 / 8),
    "st_vivit": _tokenizer(patch_size=10, batch_size=128, mlp_ratio=1 / 4),
    "vit": _tokenizer(10, 128, mlp_ratio=11 / 4, attention="space"),
    "c_vivit": _tokenizer(10, 128, mlp_ratio=21 / 8, attention="space_time"),
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
