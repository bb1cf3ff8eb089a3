"""Dynamics of changes on CoinRun, driven by the latent actions of coinrun_lam.py.

genie-train --config=coinrun_delta_genie:tiny --workdir=runs/genie \
    --config.tokenizer=runs/tokenizer/model --config.action_model=runs/actions/model

On two CPU cores, on 256 clips of test levels of coinrun/held_hard_small:
`full`, the preset genie_coinrun: 4 hours next to other work; dPSNR_4 13.8 dB (11.7 to
15.8), PSNR of ten frames, of the mean squared error, 21.1 dB (20.4 to 21.9).
`tiny`, in the demo: 13 minutes next to other work; 12.9 dB (9.7 to 16.1) and 20.1 dB
(19.1 to 21.0), on 128 clips. `fast` and `large` have not been measured.
"""

from genie_tf.experiments.configs import coinrun_genie
from genie_tf.experiments.configs.common import choose_size, quantizer, transformer


def _latent_actions(steps: int) -> dict:
    """Return the latent action model that is trained if none is given."""
    model = coinrun_genie.SIZES["fast"]["latent_action_model"]
    return {**model, "quantizer": quantizer(quantize_after=steps // 2)}


_TINY = {
    "stage": "genie",
    "tokenizer": "",
    "dataset": "coinrun/held_hard_small",
    "clip_length": 9,
    "batch_size": 4,
    "steps": 1_000,
    "latent_action_model": _latent_actions(1_000),
    "dynamics": {
        "class_name": "DeltaDynamics",
        "motion": transformer(96, 2, 4, qk_norm=True, attention="space"),
        "painter": transformer(128, 4, 4, qk_norm=True, attention="space"),
        "error_rates": (0.0, 0.2),
    },
    "schedule": {"peak": 2e-3, "warmup_steps": 50, "decay_steps": 800},
    "optimizer": {"name": "muon", "beta_2": 0.99},
}

SIZES = {
    "large": {
        **_TINY,
        "dataset": "coinrun/mixed_hard",
        "clip_length": 17,
        "batch_size": 16,
        "steps": 40_000,
        "latent_action_model": _latent_actions(40_000),
        "dynamics": {
            **_TINY["dynamics"],
            "motion": transformer(192, 3, 6, qk_norm=True, attention="space"),
            "painter": transformer(256, 8, 8, qk_norm=True, attention="space"),
        },
        "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 32_000},
    },
    "full": {
        **_TINY,
        "dataset": "coinrun/mixed_hard",
        "clip_length": 17,
        "steps": 10_000,
        "latent_action_model": _latent_actions(10_000),
        "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 7_000},
    },
    "fast": {
        **_TINY,
        "dataset": "coinrun/mixed_hard",
        "clip_length": 17,
        "steps": 2_500,
        "latent_action_model": _latent_actions(2_500),
        "schedule": {"peak": 2e-3, "warmup_steps": 100, "decay_steps": 2_000},
    },
    "tiny": _TINY,
}


def get_config(size: str = "full"):
    return choose_size(size, **SIZES)
