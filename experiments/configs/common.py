"""What the configs share."""

from ml_collections import ConfigDict, config_dict

# Settings of any Genie, as published; each can be changed on the command line.
_GENIE = {
    # Name or folder of a trained latent action model, to be kept as it is.
    "action_model": "",
    # How many true actions the dataset has, to be steered by them; 0: by latent ones.
    "num_true_actions": 0,
}


# The models of each stage, by the groups of their settings.
_MODELS = {
    "tokenizer": {"model": "VideoTokenizer"},
    "latent_action_model": {"model": "LatentActionModel"},
    "genie": {"latent_action_model": "LatentActionModel"},
}
# Types of settings that may be None.
_OPTIONAL = {"head_dim": int, "mlp_dim": int, "idle_limit": int, "levels": tuple}


def choose_size(size: str, **sizes: dict) -> ConfigDict:
    """The settings of one size, and how often to log, evaluate and save.

    With other `--config.steps`, `schedule.decay_steps` and `quantize_after` keep their
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
    chosen = _copied(sizes[size])
    steps = chosen["steps"]
    for group, class_name in _MODELS[chosen["stage"]].items():
        if chosen[group].setdefault("class_name", class_name) == class_name:
            chosen[group].setdefault("quantizer", quantizer())
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
            **(_GENIE if chosen["stage"] == "genie" else {}),
            **chosen,
            # Whole, so that each can be changed on the command line.
            "schedule": {
                "decay_steps": 0,
                "final": 0.0,
                "shape": "linear",
                "warmup_from": 0.0,
                **chosen["schedule"],
            },
            "optimizer": {
                "name": "adamw",
                "beta_1": 0.9,
                "beta_2": 0.9,
                "weight_decay": 1e-4,
                "decay_all": False,
                "ema": 0.0,
                **chosen["optimizer"],
            },
        }
    )
    _keep_share(config, "decay_steps", config.schedule)
    for group in _MODELS[config.stage]:
        if "quantizer" in config[group]:
            _keep_share(config, "quantize_after", config[group].quantizer)
    allow_none(config)
    return config


def _copied(group: dict) -> dict:
    """Return a copy in which no two groups are one, which a flag would set at once."""
    return {
        name: _copied(value) if isinstance(value, dict) else value
        for name, value in group.items()
    }


def allow_none(config: ConfigDict) -> None:
    """Give settings that are None the type of their values, for the command line."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            allow_none(value)
        elif value is None and name in _OPTIONAL:
            config[name] = config_dict.placeholder(_OPTIONAL[name])


def _keep_share(config: ConfigDict, name: str, group: ConfigDict) -> None:
    group[name] = config.get_oneway_ref("steps") * group[name] // config.steps


def transformer(
    dim: int,
    num_blocks: int,
    num_heads: int,
    *,
    head_dim: int | None = None,
    mlp_dim: int | None = None,
    qk_norm: bool = False,
    window: int = 16,
    attention: str = "st",
) -> dict:
    """Return the arguments of an `STTransformer`."""
    return dict(locals())


def quantizer(
    *,
    class_name: str = "VectorQuantizer",
    commitment_weight: float = 0.25,
    idle_limit: int | None = 10,
    quantize_after: int = 0,
    ema: float = 0.0,
    levels: tuple[int, ...] | None = None,
) -> dict:
    """Return the arguments of a `VectorQuantizer`, or `FiniteScalarQuantizer` if given
    `levels`."""
    return dict(locals())


def maskgit_dynamics(
    transformer: dict,
    *,
    conditioning: str = "add",
    mask_rates: tuple[float, float] = (0.5, 1.0),
) -> dict:
    """Return the arguments of a `MaskGitDynamics` that its world does not give."""
    return {"class_name": "MaskGitDynamics", **locals()}
