"""Ablation of what makes actions matter: one change at a time to a short run of `tiny`.

genie-train --config=steerability:base --workdir=runs/steerability/base \
    --config.tokenizer=runs/tokenizer/model

studies/steerability.py trains and evaluates all rows; docs/steerability.md has the
results.
"""

from ml_collections import ConfigDict

from genie_tf.experiments.configs import coinrun_genie
from genie_tf.experiments.configs.common import (
    allow_none,
    choose_size,
    published_quantizer,
    quantizer,
    transformer,
)

_QUANTIZER = "latent_action_model.quantizer"

# The changes of each row.
ROWS = {
    "base": {},
    "seed_1": {"seed": 1},
    "seed_2": {"seed": 2},
    "token": {"dynamics.conditioning": "token"},
    "concat": {"dynamics.conditioning": "concat"},
    "guided_add": {"num_true_actions": 15},
    "guided_token": {"num_true_actions": 15, "dynamics.conditioning": "token"},
    "guided_concat": {"num_true_actions": 15, "dynamics.conditioning": "concat"},
    # With --config.action_model=FOLDER of the row `actions_alone`.
    "actions_alone": {"stage": "latent_action_model"},
    "separate": {},
    "mask_all": {"dynamics.mask_rates": (1.0, 1.0)},
    "mask_075": {"dynamics.mask_rates": (0.75, 0.75)},
    "decoder_sees_past": {
        "latent_action_model.decoder": transformer(128, 2, 4, window=4)
    },
    "both_see_past": {
        "latent_action_model.encoder": transformer(128, 1, 4, window=4),
        "latent_action_model.decoder": transformer(128, 2, 4, window=4),
    },
    "patch_16": {"latent_action_model.patch_size": 16},
    "no_soft_start": {_QUANTIZER: quantizer()},
    "never_reseeded": {_QUANTIZER: quantizer(quantize_after=200, idle_limit=None)},
    "random_codebook": {_QUANTIZER: quantizer(idle_limit=None)},
    "ema": {_QUANTIZER: quantizer(quantize_after=200, ema=0.9)},
    "fsq": {"latent_action_model.action_dim": 2, _QUANTIZER: quantizer(levels=(3, 2))},
    "actions_7": {"latent_action_model.num_actions": 7},
    "actions_8": {"latent_action_model.num_actions": 8},
    "frames_8": {"clip_length": 8, "batch_size": 4, "dynamics.transformer.window": 8},
    # One of our additions to the published models less.
    "masked_tokens_only": {"dynamics.sees_previous": False},
    "classifier": {"dynamics.predicts": "token"},
    "frames_only": {"latent_action_model.sees_change": False},
    "frame_from_sigmoid": {"latent_action_model.predicts": "frame"},
    "not_centered": {_QUANTIZER: quantizer(quantize_after=200, centered=False)},
    # These two differ from `no_soft_start`: k-means is by cosine, and sets the first codes.
    "euclidean": {_QUANTIZER: quantizer(metric="euclidean")},
    "no_data_init": {_QUANTIZER: quantizer(data_init=False)},
    "plain_quantizer": {_QUANTIZER: published_quantizer()},
    "adamw": {"optimizer.name": "adamw", "optimizer.beta_2": 0.9},
    "decay_all": {"optimizer.decay_all": True},
    "no_clipping": {"clip_norm": None},
    # None of them.
    "plain_dynamics": {"dynamics.sees_previous": False, "dynamics.predicts": "token"},
    "plain_actions": {
        "latent_action_model.sees_change": False,
        "latent_action_model.predicts": "frame",
        _QUANTIZER: published_quantizer(),
    },
}


def get_config(row: str = "base"):
    if row not in ROWS:
        raise ValueError(
            f"the row after the colon in --config must be one of {', '.join(ROWS)}; "
            f"received {row!r}"
        )
    config = choose_size("tiny", **coinrun_genie.SIZES)
    config.steps = 400
    config.log_every, config.evaluate_every, config.checkpoint_every = 20, 400, 400
    for name, value in ROWS[row].items():
        *groups, last = name.split(".")
        group = config
        for part in groups:
            group = group[part]
        group[last] = ConfigDict(value) if isinstance(value, dict) else value
    if config.stage == "latent_action_model":
        config.model = config.latent_action_model
        # As in coinrun_lam.py.
        config.model.quantizer.quantize_after, config.schedule.decay_steps = 370, 200
    allow_none(config)
    return config
