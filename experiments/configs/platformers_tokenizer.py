"""Video tokenizers on Platformers (Genie, appendix C.2 and section 3.4).

genie-train --config=platformers_tokenizer:paper \
    --workdir=runs/tokenizer --config.dataset=NAME

`paper` is Genie's own. `st_vivit`, `vit` and `c_vivit` are the comparison of tokenizers:
attention over space and time in turn, over space alone, and over both at once.

None of these has been trained. The data are not public either: NAME is a TFDS dataset
of RLDS episodes of 160x90 pixels, 10 frames a second. At the bottom these frames are
filled up with black, to 40x23 patches of 4 pixels: 920 tokens a frame, as in the paper.

The paper does not say how wide the feed-forward is. Its 200M parameters for `paper`
leave room for an eighth of the width. Of the comparison it has the numbers of parameters,
not the sizes; here, depth and width are those of `paper`, and the feed-forwards make up
the rest.
"""

from genie_tf.experiments.configs.common import choose_size, transformer


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
        },
        "schedule": {"peak": 3e-4, "warmup_steps": 10_000},
        "optimizer": {"beta_1": 0.9, "beta_2": 0.9, "weight_decay": 1e-4},
    }


SIZES = {
    "paper": _tokenizer(patch_size=4, batch_size=384, mlp_ratio=1 / 8),
    "st_vivit": _tokenizer(patch_size=10, batch_size=128, mlp_ratio=1 / 4),
    "vit": _tokenizer(10, 128, mlp_ratio=11 / 4, attention="space"),
    "c_vivit": _tokenizer(10, 128, mlp_ratio=21 / 8, attention="space_time"),
}


def get_config(size: str = "paper"):
    return choose_size(size, **SIZES)
