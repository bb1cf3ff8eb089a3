"""Agent that plays CoinRun, trained by PPO; `paper` is that of Procgen, Cobbe et al. 2020.

genie-train-agent --config=coinrun_agent:full --workdir=runs/agent

`full` sees frames of half the size, and its network averages over positions (Impoola,
Trumpp et al. 2025); its 1.5 million frames would take two free CPU cores 94 minutes.
`tiny` shows that everything works. No size has been trained to the end yet.
"""

from genie_tf.datasets.procgen.environment import ACTION_NAMES
from genie_tf.experiments.configs.common import choose_agent_size

_PAPER = {
    "frames": 25_000_000,
    "clip_norm": 0.5,
    "model": {
        "class_name": "ImpalaAgent",
        "game": "coinrun",
        "action_names": ACTION_NAMES,
        "frame_shape": (64, 64, 3),
        "paint_velocity": False,
        "shrink": 1,
        "channels": (16, 32, 32),
        "dim": 256,
        "mean_pooling": False,
    },
    "games": {
        "mode": "easy",
        "num_games": 64,
        # Datasets hold levels below 200,000.
        "first_level": 200_000,
        "num_levels": 1_000_000_000,
    },
    "rollouts": {
        "length": 256,
        "epochs": 3,
        "minibatches": 8,
        "discount": 0.999,
        "advantage_decay": 0.95,
    },
    "ppo": {"clip": 0.2, "value_weight": 0.5, "entropy_weight": 0.01},
    "schedule": {"peak": 5e-4, "warmup_steps": 0},
    "optimizer": {"beta_2": 0.999, "weight_decay": 0.0, "epsilon": 1e-5},
}

SIZES = {
    "paper": _PAPER,
    "full": {
        **_PAPER,
        "frames": 1_500_000,
        "model": {**_PAPER["model"], "shrink": 2, "mean_pooling": True},
    },
    "tiny": {
        **_PAPER,
        "frames": 40_960,
        "model": {
            **_PAPER["model"],
            "shrink": 4,
            "channels": (8, 16),
            "dim": 64,
            "mean_pooling": True,
        },
        "games": {**_PAPER["games"], "num_games": 32},
        "rollouts": {**_PAPER["rollouts"], "length": 64},
        "validation_levels": 16,
    },
}


def get_config(size: str = "full"):
    return choose_agent_size(size, **SIZES)
