"""Code shared by the configs."""

from ml_collections import ConfigDict, config_dict

from genie_tf.sampling_settings import ALL_SETTINGS

# Settings of any Genie, as published.
_GENIE = {
    # Name or folder of a trained latent action model, which stays frozen.
    "action_model": "",
    # Number of true actions of the dataset that drive the world; 0: latent actions do.
    "num_true_actions": 0,
}


# Arguments of models that configs leave out.
_DEFAULTS = {
    "VideoTokenizer": {"output": "sigmoid", "own_first_frame": False},
    "LatentActionModel": {
        "sees_change": True,
        "predicts": "change",
        "action_from": "position",
        "own_first_frame": False,
    },
}
# The models of each stage, by the names of their groups of settings.
_MODELS = {
    "tokenizer": {"model": "VideoTokenizer"},
    "latent_action_model": {"model": "LatentActionModel"},
    "genie": {"latent_action_model": "LatentActionModel"},
}
# Types of settings that can be None.
_OPTIONAL = {
    "clip_norm": float,
    "head_dim": int,
    "mlp_dim": int,
    "idle_limit": int,
    "levels": tuple,
    "grid": tuple,
}

# What the papers' models share. Genie reports neither clipping nor exceptions from
# weight decay.
PUBLISHED = {
    "clip_norm": None,
    "optimizer": {
        "beta_1": 0.9,
        "beta_2": 0.9,
        "weight_decay": 1e-4,
        "decay_all": True,
    },
}
# Their latent action model: it sees and predicts frames, not changes.
PUBLISHED_ACTIONS = {"sees_change": False, "predicts": "frame"}


def choose_size(size: str, **sizes: dict) -> ConfigDict:
    """Return the config of one size, with defaults for all other settings.

    `schedule.decay_steps` and `quantize_after` scale with `--config.steps`, unless they
    are passed too.

    Args:
        size: word after the colon in `--config=FILE.py:SIZE`.
        **sizes: settings of each size, including `steps`.

    Raises:
        ValueError: if there is no such size.
    """
    chosen = _choose(size, sizes)
    steps = chosen["steps"]
    for group, class_name in _MODELS[chosen["stage"]].items():
        if chosen[group].setdefault("class_name", class_name) == class_name:
            chosen[group].setdefault("quantizer", quantizer())
            chosen[group] = {**_DEFAULTS[class_name], **chosen[group]}
    config = ConfigDict(
        {
            "seed": 0,
            "train_split": "train",
            "validation_split": "validation",
            # Observation that holds the frames; "" is the usual one.
            "camera": "",
            # Steps of an episode from one frame of a clip to the next.
            "stride": 1,
            # Whether to scale and crop frames to the model's size.
            "resize": False,
            # "mixed_bfloat16" computes in bfloat16; weights stay float32.
            "precision": "float32",
            # Fine-tuning: the name or folder of a preset with the first weights, and
            # parts or layers that are not trained, separated by commas.
            "start_from": "",
            "frozen": "",
            # Largest global norm of the gradients; None for no limit.
            "clip_norm": 1.0,
            # Both save memory: the number of parts a batch is run in, and whether
            # blocks are recomputed in the backward pass.
            "accumulate": 1,
            "remat": False,
            "steps_per_call": 1,
            "log_every": min(100, max(1, steps // 20)),
            "evaluate_every": max(1, steps // 5),
            "checkpoint_every": min(5_000, max(1, steps // 4)),
            # See `Checkpoints`.
            "keep_last": 2,
            "keep_every": 0,
            "keep_best": "",
            "best_is": "lowest",
            "validation_clips": 32,
            **(_GENIE if chosen["stage"] == "genie" else {}),
            **chosen,
            **_complete(chosen),
        }
    )
    _keep_share(config, "decay_steps", config.schedule)
    for group in _MODELS[config.stage]:
        if "quantizer" in config[group]:
            _keep_share(config, "quantize_after", config[group].quantizer)
    allow_none(config)
    return config


def choose_agent_size(size: str, **sizes: dict) -> ConfigDict:
    """Return the config of an agent in one size, with defaults for all other settings.

    `steps` counts batches and follows from `frames`, the frames to play.

    Args:
        size: word after the colon in `--config=FILE.py:SIZE`.
        **sizes: settings of each size.

    Raises:
        ValueError: if there is no such size.
    """
    chosen = _choose(size, sizes)
    config = ConfigDict(
        {
            "stage": "agent",
            "seed": 0,
            "precision": "float32",
            # See `choose_size`.
            "start_from": "",
            "frozen": "",
            "accumulate": 1,
            # On CPUs, XLA's convolutions are many times slower in a loop.
            "steps_per_call": 1,
            "keep_last": 2,
            "keep_every": 0,
            "keep_best": "",
            "best_is": "highest",
            # Levels played in an evaluation, from number 10,000 on.
            "validation_levels": 64,
            **chosen,
            **_complete(chosen),
        }
    )
    rollouts = config.rollouts
    rollout = config.games.get_oneway_ref("num_games") * rollouts.get_oneway_ref(
        "length"
    )
    steps = rollouts.get_oneway_ref("epochs") * rollouts.get_oneway_ref("minibatches")
    config.steps = config.get_oneway_ref("frames") // rollout * steps
    config.log_every = steps
    quarter = max(1, config.steps // config.log_every // 4)
    config.evaluate_every = steps * quarter
    config.checkpoint_every = steps * min(5, quarter)
    allow_none(config)
    return config


def _complete(chosen: dict) -> dict:
    """Return schedule and optimizer with all settings, so that each has a flag."""
    return {
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


def _choose(size: str, sizes: dict) -> dict:
    """Return a copy of the settings of a size.

    Raises:
        ValueError: if there is no such size.
    """
    if size not in sizes:
        raise ValueError(
            f"the size after the colon in --config must be one of {', '.join(sizes)}; "
            f"received {size!r}"
        )
    return _copy_groups(sizes[size])


def _copy_groups(group: dict) -> dict:
    """Return a deep copy: one flag must not set two groups that share a dict."""
    return {
        name: _copy_groups(value) if isinstance(value, dict) else value
        for name, value in group.items()
    }


def allow_none(config: ConfigDict) -> None:
    """Give settings that are None a type, so that flags can set them."""
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
    options: dict | None = None,
) -> dict:
    """Return the arguments of an `STTransformer`."""
    return {**locals(), "options": transformer_options(**(options or {}))}


def transformer_options(
    *,
    space_position: str = "learned",
    time_position: str = "rotary",
    peg: bool = False,
    space_bias_dim: int = 0,
    grid: tuple[int, int] | None = None,
    feed_forward: str = "gelu",
    order: str = "stf",
    bias: str = "output",
    norm_keys: bool = True,
    norm_epsilon: float = 1e-3,
    entry: bool = False,
    last_norm: bool = True,
) -> dict:
    """Return `TransformerOptions`."""
    return dict(locals())


def quantizer(
    *,
    class_name: str = "VectorQuantizer",
    commitment_weight: float = 0.25,
    idle_limit: int | None = 10,
    quantize_after: int = 0,
    ema: float = 0.0,
    metric: str = "cosine",
    centered: bool = True,
    data_init: bool = True,
    move_to: str = "latents",
    unit_codes: str = "always",
    dropout: float = 0.0,
    levels: tuple[int, ...] | None = None,
) -> dict:
    """Return the arguments of a `VectorQuantizer`.

    With `levels`, the quantizer is a `FiniteScalarQuantizer`.
    """
    return dict(locals())


def published_quantizer() -> dict:
    """Return the arguments of Genie's `VectorQuantizer`, a plain VQ-VAE."""
    return quantizer(
        metric="euclidean", centered=False, data_init=False, idle_limit=None
    )


def maskgit_dynamics(
    transformer: dict,
    *,
    conditioning: str = "add",
    mask_rates: tuple[float, float] = (0.5, 1.0),
    sees_previous: bool = True,
    predicts: str = "change",
    sampling: dict | None = None,
) -> dict:
    """Return the arguments of a `MaskGitDynamics`, except those its world passes."""
    return {
        "class_name": "MaskGitDynamics",
        **locals(),
        # Complete, so that each setting has a flag.
        "sampling": {x.name: x.default for x in ALL_SETTINGS} | (sampling or {}),
    }


def published_dynamics(transformer: dict, *, temperature: float = 1.0) -> dict:
    """Return the arguments of the dynamics of Genie and Jafar."""
    return maskgit_dynamics(
        transformer,
        sees_previous=False,
        predicts="token",
        sampling={"num_steps": 25, "temperature": temperature},
    )
