"""What the configs share."""

from ml_collections import ConfigDict

# Settings of any Genie, as published; each can be changed on the command line.
_GENIE = {
    # How an action enters the dynamics: "add", "concat" or "token".
    "conditioning": "add",
    # Between which two shares of a clip's tokens are hidden from the dynamics.
    "mask_rates": (0.5, 1.0),
    # Name or folder of a trained latent action model, to be kept as it is.
    "trained_actions": "",
    # How many true actions the dataset has, to be steered by them; 0: by latent ones.
    "true_actions": 0,
}


def choose_size(size: str, **sizes: dict) -> ConfigDict:
    """The settings of one size, and how often to log, evaluate and save.

    With other `--config.steps`, `schedule.decay_steps` and `soft_updates` keep their
    shares of the steps, unless they are given too.

    Args:
        size: the word after the colon in `--config=FILE.py:SIZE`.
        **sizes: the settings of each size; `steps` among them.

    Raises:
        ValueError: if the size is none of these.
    """
    if size not in sizes:
        raise ValueError(
            f"the size after the colon in --config must be one of {', '.join(sizes)}; "
            f"received {size!r}"
        )
    steps = sizes[size]["steps"]
    config = ConfigDict(
        {
            "seed": 0,
            "train_split": "train",
            "validation_split": "validation",
            # Which of the observations are the frames; "" is the usual one.
            "camera": "",
            # Steps of an episode from one frame of a clip to the next.
            "stride": 1,
            # Whether frames are scaled and cut off to the size the model is for.
            "resize": False,
            # "mixed_bfloat16" computes in bfloat16; weights stay float32.
            "precision": "float32",
            "clip_norm": 1.0,
            # Parts a batch is run in, and whether blocks are computed anew in the
            # backward pass: both save memory.
            "accumulate": 1,
            "remat": False,
            "steps_per_call": 1,
            "log_every": min(100, max(1, steps // 20)),
            "evaluate_every": max(1, steps // 5),
            "checkpoint_every": min(5_000, max(1, steps // 4)),
            # As of `Checkpoints`.
            "keep_last": 2,
            "keep_every": 0,
            "keep_best": "",
            "best_is": "lowest",
            "validation_clips": 32,
            **(_GENIE if sizes[size]["stage"] == "genie" else {}),
            **sizes[size],
            # Whole, so that each can be changed on the command line.
            "schedule": {
                "decay_steps": 0,
                "final": 0.0,
                "shape": "linear",
                "warmup_from": 0.0,
                **sizes[size]["schedule"],
            },
            "optimizer": {
                "name": "adamw",
                "beta_1": 0.9,
                "beta_2": 0.9,
                "weight_decay": 1e-4,
                "decay_all": False,
                "ema": 0.0,
                **sizes[size]["optimizer"],
            },
        }
    )
    _keep_share(config, "decay_steps", config.schedule)
    for name in ("model", "latent_action_model"):
        if "quantizer" in config.get(name, {}):
            _keep_share(config, "soft_updates", config[name].quantizer)
    return config


def _keep_share(config: ConfigDict, name: str, group: ConfigDict) -> None:
    group[name] = config.get_oneway_ref("steps") * group[name] // config.steps


def transformer(dim: int, num_blocks: int, num_heads: int, **others) -> dict:
    """Arguments of an `STTransformer`."""
    return {"dim": dim, "num_blocks": num_blocks, "num_heads": num_heads, **others}
