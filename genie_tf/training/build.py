"""Builds the model and the training engine of a config."""

import inspect
import random
from collections.abc import Mapping

import keras
from ml_collections import ConfigDict

from genie_tf.agents import Agent
from genie_tf.models import (
    ActionModel,
    Dynamics,
    Genie,
    GuidedGenie,
    Tokenizer,
    WorldModel,
)
from genie_tf.presets.registry import check_arguments, make_model, model_class
from genie_tf.training.fine_tuning import freeze_layers, start_from
from genie_tf.training.optimizers import WarmupDecay, make_optimizer
from genie_tf.training.ppo import PpoModel


def make_engine(
    config: ConfigDict,
    strategy: str = "auto",
    tpu: str | None = None,
    virtual_devices: int = 1,
    mesh: str = "",
    resumes: bool = False,
):
    """Return the `Engine` of a config for the backend that Keras runs on.

    Args:
        config: see `experiments/configs`.
        strategy, tpu: see `make_strategy`; TensorFlow only.
        virtual_devices: number of devices to split the CPU into.
        mesh: see `make_sharding`; JAX only.
        resumes: whether a checkpoint will replace the weights, so that those of
            `config.start_from` are not needed.

    Raises:
        ValueError: if the devices or the config cannot be used.
    """

    def make_start():
        model = build_model(config)
        if config.start_from and not resumes:
            given = {"tokenizer"} if isinstance(model, WorldModel) else set()
            if config.get("action_model"):
                given.add("latent_action_model")
            is_agent = isinstance(model, PpoModel)
            start_from(model.agent if is_agent else model, config.start_from, given)
        return model

    def build_engine(engine_class, devices):
        return engine_class(
            make_start,
            lambda model: build_optimizer(config, model),
            config.clip_norm,
            devices,
            config.accumulate,
        )

    if keras.config.backend() == "jax":
        if strategy != "auto" or tpu:
            raise ValueError(
                "--strategy and --tpu are for TensorFlow; with KERAS_BACKEND=jax, "
                "training runs on all devices of this machine, arranged by --mesh."
            )
        from genie_tf.training.jax_engine import JaxEngine
        from genie_tf.training.sharding import make_sharding

        return build_engine(JaxEngine, make_sharding(mesh, virtual_devices))
    if mesh:
        raise ValueError("--mesh needs JAX: set KERAS_BACKEND=jax.")
    from genie_tf.training.engine import TensorFlowEngine
    from genie_tf.training.strategies import make_strategy

    return build_engine(TensorFlowEngine, make_strategy(strategy, tpu, virtual_devices))


def build_optimizer(
    config: ConfigDict, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a config, for a built model."""
    schedule = WarmupDecay(steps=config.steps, **config.schedule)
    return make_optimizer(model, schedule, **config.optimizer)


def build_model(config: ConfigDict) -> keras.Model:
    """Return the untrained model of a config's stage, with its frozen layers.

    Raises:
        ValueError: if there is no such stage, the tokenizer can't be loaded, or a model
            does not accept its arguments or has no layers to freeze or to train.
    """
    model = _build_stage(config)
    freeze_layers(model, config.frozen)
    return model


def _build_stage(config: ConfigDict) -> keras.Model:
    # Keras draws the seeds of its initializers from `random`. Its own set_random_seed
    # would load TensorFlow on any backend.
    random.seed(config.seed)
    stages = {"tokenizer": Tokenizer, "latent_action_model": ActionModel}
    if config.stage in stages:
        return _build(config.model, config.remat, stages[config.stage])
    if config.stage == "genie":
        if not config.tokenizer:
            raise ValueError(
                "Genie needs a trained tokenizer: pass its folder as --config.tokenizer"
                "=WORKDIR/model."
            )
        world = build_world(config, Tokenizer.from_preset(config.tokenizer))
        world.dynamics.start_from(world.tokenizer.codes())
        return world
    if config.stage == "agent":
        return PpoModel(_build(config.model, False, Agent), **config.ppo)
    raise ValueError(
        "config.stage must be tokenizer, latent_action_model or genie; received "
        f"{config.stage!r}."
    )


def build_world(config: ConfigDict, tokenizer: Tokenizer) -> WorldModel:
    """Return the untrained `Genie` or `GuidedGenie` of a config, with a given tokenizer."""
    if config.num_true_actions:
        return GuidedGenie(
            tokenizer, _build_dynamics(config, tokenizer, config.num_true_actions)
        )
    if config.action_model:
        actions = ActionModel.from_preset(config.action_model)
        actions.trainable = False
    else:
        actions = _build(config.latent_action_model, config.remat, ActionModel)
    dynamics = _build_dynamics(config, tokenizer, actions.action_dim)
    return Genie(tokenizer, actions, dynamics)


def _build(group: ConfigDict, remat: bool, base: type) -> keras.Model:
    """Return the model that a group of settings describes."""
    settings = _settings(group, remat)
    try:
        return make_model(settings, base)
    except TypeError as error:
        raise _no_arguments(error) from error


def _build_dynamics(
    config: ConfigDict, tokenizer: Tokenizer, action_dim: int
) -> Dynamics:
    settings = _settings(config.dynamics, config.remat)
    dynamics_class = model_class(settings.pop("class_name", None), Dynamics)
    check_arguments(dynamics_class, settings)
    try:
        return dynamics_class.for_world(tokenizer, action_dim, settings)
    except TypeError as error:
        raise _no_arguments(error) from error


def _no_arguments(error: TypeError) -> ValueError:
    return ValueError(f"The config does not have the arguments of its model: {error}.")


def _settings(group: ConfigDict, remat: bool) -> dict:
    """Return the class name and arguments of a model and its layers."""
    settings = group.to_dict()
    layers = model_class(settings.get("class_name")).layer_classes
    for name, layer_class in layers.items():
        arguments = settings.get(name)
        if not isinstance(arguments, Mapping):
            continue
        if name == "quantizer":
            settings[name] = _quantizer(arguments)
        elif "remat" in inspect.signature(layer_class(arguments)).parameters:
            settings[name] = {**arguments, "remat": remat}
    return settings


def _quantizer(arguments: Mapping) -> dict:
    """Return a quantizer's arguments; `levels` select a `FiniteScalarQuantizer`."""
    if arguments.get("levels"):
        name = "FiniteScalarQuantizer"
        return {"class_name": name, "levels": tuple(arguments["levels"])}
    # Arguments that are newer are left out at their defaults, so that a model trained
    # before them has equal settings.
    newer = {"levels": None, "unit_codes": "always", "dropout": 0.0}
    return {
        name: value
        for name, value in arguments.items()
        if name not in newer or (value or newer[name]) != newer[name]
    }
