"""Latent action model and dynamics on Platformers (Genie, appendices C and D).

genie-train --config=platformers_genie:41m --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model --config.dataset=NAME

Sizes are named after the parameter counts of their dynamics: 41m, 96m, 192m, 404m,
811m, 1.6b and 2.7b are the study of model size; 2.3b_128, 2.3b_256 and 2.3b_448 that of
batch size; 10.1b is Genie itself. 580m is the study of data curation (table 4), whose
layers the paper does not report: they lie between those of 404m and 811m. `token_input` is 2.3b_256 with a latent action model
that sees tokens instead of pixels (section 3.4; the paper does not report the sizes of
that comparison).

None of these has been trained. NAME is a dataset as for `platformers_tokenizer`.

The paper does not report the width of the feed-forward. It cannot be wide: with the
published number of heads, attention accounts for all parameters of most sizes. An
eighth of the model's width is closest for the latent action model and the study of
model size, whose parameter counts are then at most 10% off; 2.3b and 10.1b need 1.2 and
0.4 times the width.
"""

from genie_tf.experiments.configs.common import (
    PUBLISHED,
    PUBLISHED_ACTIONS,
    choose_size,
    published_dynamics,
    published_quantizer,
    transformer,
)

_ACTION_MODEL = transformer(1024, 20, 16, mlp_dim=128)


def _genie(
    dim: int,
    num_blocks: int,
    num_heads: int,
    head_dim: int,
    mlp_dim: int,
    batch_size: int = 256,
    steps: int = 200_000,
) -> dict:
    return {
        **PUBLISHED,
        "stage": "genie",
        "tokenizer": "",
        "dataset": "platformers",
        "clip_length": 16,
        "batch_size": batch_size,
        "steps": steps,
        "precision": "mixed_bfloat16",
        "latent_action_model": {
            **PUBLISHED_ACTIONS,
            "frame_shape": (90, 160, 3),
            "patch_size": 16,
            "num_actions": 8,
            "action_dim": 32,
            "encoder": _ACTION_MODEL,
            "decoder": _ACTION_MODEL,
            "quantizer": published_quantizer(),
        },
        "dynamics": published_dynamics(
            transformer(
                dim,
                num_blocks,
                num_heads,
                head_dim=head_dim,
                mlp_dim=mlp_dim,
                qk_norm=True,
            ),
            temperature=2.0,
        ),
        "schedule": {
            "peak": 3e-5,
            "final": 3e-6,
            "warmup_steps": 5_000,
            "decay_steps": steps - 5_000,
            "shape": "cosine",
        },
    }


SIZES = {
    "41m": _genie(512, 18, 8, 64, mlp_dim=64),
    "96m": _genie(768, 16, 16, 64, mlp_dim=96),
    "192m": _genie(1024, 20, 18, 64, mlp_dim=128),
    "404m": _genie(1536, 21, 12, 128, mlp_dim=192),
    "580m": _genie(1792, 19, 16, 128, mlp_dim=224),
    "811m": _genie(2048, 20, 20, 128, mlp_dim=256),
    "1.6b": _genie(2560, 28, 22, 128, mlp_dim=320),
    "2.7b": _genie(3072, 36, 22, 128, mlp_dim=384),
    "2.3b_128": _genie(2560, 34, 20, 128, mlp_dim=3072, batch_size=128),
    "2.3b_256": _genie(2560, 34, 20, 128, mlp_dim=3072, batch_size=256),
    "2.3b_448": _genie(2560, 34, 20, 128, mlp_dim=3072, batch_size=448),
    "10.1b": _genie(5120, 48, 36, 128, mlp_dim=2048, batch_size=512, steps=125_000),
}


def with_token_input(genie: dict) -> dict:
    """Return the settings of a Genie whose latent action model sees tokens.

    Each token of `platformers_tokenizer:paper` becomes a pixel of 32 channels. The codes
    of a plain codebook have no range, so the next ones are predicted as changes.
    """
    return {
        **genie,
        "latent_action_model": {
            **genie["latent_action_model"],
            "frame_shape": (23, 40, 32),
            "patch_size": 1,
            "predicts": "change",
        },
    }


SIZES["token_input"] = with_token_input(SIZES["2.3b_256"])


def get_config(size: str = "41m"):
    return choose_size(size, **SIZES)
