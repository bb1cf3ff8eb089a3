"""Rules for the settings of a training run, whichever config they come from."""

import math
from collections.abc import Callable

from ml_collections import ConfigDict

# The valid values of a setting in words, and a test of one value.
_Rule = tuple[str, Callable[[object], bool]]


def _whole(least: int) -> _Rule:
    return (
        f"a whole number of {least} or more",
        lambda x: type(x) is int and x >= least,
    )


def _number(words: str, test: Callable[[float], bool]) -> _Rule:
    return (
        f"a finite number {words}",
        lambda x: type(x) in (int, float) and math.isfinite(x) and test(x),
    )


def _one_of(*choices: str) -> _Rule:
    return " or ".join(choices), lambda x: x in choices


_TEXT = "a string", lambda x: isinstance(x, str)
_FLAG = "True or False", lambda x: isinstance(x, bool)
_GROUP = "a group of settings", lambda x: isinstance(x, ConfigDict)
_ABOVE_0 = _number("above 0", lambda x: x > 0)
_FROM_0 = _number("of 0 or more", lambda x: x >= 0)
_BELOW_1 = _number("from 0 to below 1", lambda x: 0 <= x < 1)
_SHARE = _number("from 0 to 1", lambda x: 0 <= x <= 1)

_ALL = {
    "stage": _TEXT,
    "dataset": _TEXT,
    "train_split": _TEXT,
    "validation_split": _TEXT,
    "camera": _TEXT,
    "resize": _FLAG,
    "seed": _whole(0),
    "steps": _whole(1),
    "batch_size": _whole(1),
    "clip_length": _whole(1),
    "stride": _whole(1),
    "precision": _one_of("float32", "mixed_bfloat16"),
    "start_from": _TEXT,
    "frozen": _TEXT,
    "clip_norm": (
        "a finite number above 0, or None",
        lambda x: x is None or _ABOVE_0[1](x),
    ),
    "accumulate": _whole(1),
    "remat": _FLAG,
    "steps_per_call": _whole(1),
    "log_every": _whole(1),
    "evaluate_every": _whole(1),
    "checkpoint_every": _whole(1),
    "keep_last": _whole(1),
    "keep_every": _whole(0),
    "keep_best": _TEXT,
    "best_is": _one_of("lowest", "highest"),
    "validation_clips": _whole(1),
    "schedule": _GROUP,
    "schedule.peak": _ABOVE_0,
    "schedule.warmup_steps": _whole(0),
    "schedule.warmup_from": _SHARE,
    "schedule.decay_steps": _whole(0),
    "schedule.final": _FROM_0,
    "schedule.shape": _TEXT,
    "optimizer": _GROUP,
    "optimizer.name": _TEXT,
    "optimizer.beta_1": _BELOW_1,
    "optimizer.beta_2": _BELOW_1,
    "optimizer.weight_decay": _FROM_0,
    "optimizer.decay_all": _FLAG,
    "optimizer.ema": _BELOW_1,
}
_MODEL = {"model": _GROUP, "model.encoder": _GROUP, "model.decoder": _GROUP}
_GENIE = {
    "tokenizer": _TEXT,
    "action_model": _TEXT,
    "num_true_actions": _whole(0),
    "dynamics": _GROUP,
}
# Settings of clips. Agents play games and have none.
_CLIPS = (
    *("dataset", "train_split", "validation_split", "camera", "resize", "batch_size"),
    *("clip_length", "stride", "remat", "validation_clips"),
)
_AGENT = {
    **{name: rule for name, rule in _ALL.items() if name not in _CLIPS},
    # `_check_rollouts` explains a run without steps.
    "steps": _whole(0),
    "frames": _whole(1),
    "validation_levels": _whole(1),
    "optimizer.epsilon": _ABOVE_0,
    "model": _GROUP,
    "games": _GROUP,
    "games.mode": _TEXT,
    "games.num_games": _whole(1),
    "games.first_level": _whole(0),
    "games.num_levels": _whole(1),
    "rollouts": _GROUP,
    "rollouts.length": _whole(1),
    "rollouts.epochs": _whole(1),
    "rollouts.minibatches": _whole(1),
    "rollouts.discount": _SHARE,
    "rollouts.advantage_decay": _SHARE,
    "ppo": _GROUP,
    "ppo.clip": _ABOVE_0,
    "ppo.value_weight": _FROM_0,
    "ppo.entropy_weight": _FROM_0,
}
# Models with an encoder and a decoder; others check their own arguments.
_CLASSES = (None, "VideoTokenizer", "LatentActionModel")
_LATENT_ACTIONS = {f"latent_action_{name}": rule for name, rule in _MODEL.items()}


def check_settings(config: ConfigDict) -> None:
    """Check that a config has all settings, with values that training can use.

    Models and datasets check their own arguments.

    Raises:
        ValueError: if a setting is missing or invalid.
    """
    rules = _select_rules(config)
    missing = [name for name in rules if not _has(config, name)]
    if missing:
        raise ValueError(
            f"The config lacks {', '.join(missing)}; `choose_size` in "
            "genie_tf/experiments/configs/common.py fills in defaults."
        )
    for name, (words, is_right) in rules.items():
        value = _value(config, name)
        if not is_right(value):
            raise ValueError(f"config.{name} must be {words}; is {value!r}.")
    for name in ("log_every", "evaluate_every", "checkpoint_every"):
        if config[name] % config.steps_per_call:
            raise ValueError(
                f"config.{name} must be a multiple of config.steps_per_call="
                f"{config.steps_per_call}; is {config[name]}."
            )
    if config.schedule.decay_steps > config.steps:
        raise ValueError(
            "config.schedule.decay_steps must not be more than config.steps="
            f"{config.steps}; is {config.schedule.decay_steps}."
        )
    if config.stage == "agent":
        _check_rollouts(config)
    if config.get("num_true_actions") and config.get("action_model"):
        raise ValueError(
            "Set config.num_true_actions or config.action_model, not both."
        )
    for name in ("model", "latent_action_model"):
        if name not in rules:
            continue
        quantize_after = (config[name].get("quantizer") or {}).get("quantize_after", 0)
        if isinstance(quantize_after, int) and quantize_after >= config.steps:
            raise ValueError(
                f"config.{name}.quantizer.quantize_after must be less than config.steps="
                f"{config.steps}, or quantization never starts; is {quantize_after}."
            )


def _check_rollouts(config: ConfigDict) -> None:
    """Check that runs, logs and checkpoints end with a rollout."""
    rollouts = config.rollouts
    size = config.games.num_games * rollouts.length
    if not config.steps:
        raise ValueError(
            f"config.frames must be {size} or more, those of a rollout; is "
            f"{config.frames}."
        )
    steps = rollouts.epochs * rollouts.minibatches
    for name in ("steps", "log_every", "evaluate_every", "checkpoint_every"):
        if config[name] % steps:
            raise ValueError(
                f"config.{name} must be a multiple of {steps}, the steps of a rollout; is "
                f"{config[name]}."
            )
    if steps % config.steps_per_call:
        raise ValueError(
            f"config.steps_per_call must divide {steps}, the steps of a rollout; is "
            f"{config.steps_per_call}."
        )


def _select_rules(config: ConfigDict) -> dict[str, _Rule]:
    if config.get("stage") == "agent":
        return _AGENT
    if config.get("stage") != "genie":
        return _ALL | _select_model_rules(config, "model", _MODEL)
    if config.get("num_true_actions") or config.get("action_model"):
        return _ALL | _GENIE
    name = "latent_action_model"
    return _ALL | _GENIE | _select_model_rules(config, name, _LATENT_ACTIONS)


def _select_model_rules(config: ConfigDict, name: str, rules: dict) -> dict[str, _Rule]:
    """Return the rules for a model; a class that is not ours only has to be a group."""
    group = config.get(name)
    is_ours = not isinstance(group, ConfigDict) or group.get("class_name") in _CLASSES
    return rules if is_ours else {name: rules[name]}


def _has(config: ConfigDict, name: str) -> bool:
    """Return whether a setting exists; True if its group is missing or not a group."""
    group, _, rest = name.partition(".")
    if not rest:
        return group in config
    settings = config.get(group)
    return not isinstance(settings, ConfigDict) or rest in settings


def _value(config: ConfigDict, name: str):
    for part in name.split("."):
        config = config[part]
    return config
