"""Flags set every argument of the models of every config that ships."""

import inspect
from importlib import import_module

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from genie_tf.experiments import configs
from genie_tf.experiments.cli.config_files import list_configs, load_config
from genie_tf.experiments.cli.flags import ConfigParser
from genie_tf.layers import FiniteScalarQuantizer, STTransformer, VectorQuantizer
from genie_tf.presets.registry import model_class
from genie_tf.presets.without_weights import without_weights
from genie_tf.testing.tiny_models import tiny_tokenizer
from genie_tf.training.build import build_model, build_world

# Arguments that a world gives its dynamics, and a model its quantizer.
GIVEN = {"num_codes", "num_patches", "action_dim", "code_dim"}
LAYERS = {
    "encoder": STTransformer,
    "decoder": STTransformer,
    "transformer": STTransformer,
    "quantizer": VectorQuantizer,
}
# Values to choose another one from; all of them fit each other.
VALUES = {
    "frame_shape": [(32, 48, 3)],
    "patch_size": [2],
    "num_codes": [12],
    "code_dim": [3],
    "num_actions": [12],
    "action_dim": [3],
    "conditioning": ["token", "concat"],
    "mask_rates": [(0.25, 0.75)],
    "dim": [24, 28],
    "num_blocks": [1, 2],
    "num_heads": [3, 5],
    "head_dim": [10, 6],
    "mlp_dim": [9, 15],
    "qk_norm": [True, False],
    "window": [5, 6],
    "attention": ["space", "space_time"],
    "commitment_weight": [0.5],
    "idle_limit": [6],
    "quantize_after": [4],
    "ema": [0.75],
    "levels": [(3, 2, 2)],
}


def all_configs():
    for name in list_configs():
        module = import_module(f"{configs.__name__}.{name}")
        sizes = module.ROWS if name == "steerability" else module.SIZES
        yield from (f"{name}:{size}" for size in sizes)


def parse(name: str, values: dict) -> ConfigDict:
    """Return the config that a program has of its flags."""
    parsed = flags.FlagValues()
    argv = ["program", f"--config={name}"]
    argv += [f"--config.{setting}={value}" for setting, value in values.items()]
    config_flags.DEFINE_config_file("config", flag_values=parsed, sys_argv=argv)
    parser = parsed["config"].parser = ConfigParser()
    parser._loaded = False  # absl makes one for all of a process.
    parsed(argv)
    return parsed["config"].value


def build(config: ConfigDict) -> dict:
    """Return the models of a config by the groups of their settings, without weights."""
    if config.stage != "genie":
        return {"model": without_weights(lambda: build_model(config))}
    shape = config.latent_action_model.frame_shape

    def make_world():
        return build_world(config, tiny_tokenizer(frame_shape=shape))

    parts = without_weights(make_world).parts()
    del parts["tokenizer"]
    return parts


def arguments_of(made: type, given=frozenset()) -> set[str]:
    return inspect.signature(made).parameters.keys() - given - {"kwargs", "remat"}


def settings_of(config: ConfigDict, group: str) -> dict:
    """Return the flag of each argument of a model, with its value."""
    made = model_class(config[group].class_name)
    flat = {}
    for name in arguments_of(made, GIVEN if group == "dynamics" else set()):
        if name in LAYERS:
            for inner in arguments_of(LAYERS[name], GIVEN):
                flat[f"{group}.{name}.{inner}"] = config[group][name][inner]
        else:
            flat[f"{group}.{name}"] = config[group][name]
    if made.__name__ == "CausalDynamics":
        del flat["dynamics.transformer.attention"]  # It takes only one.
    return flat


def another(setting: str, value):
    values = VALUES[setting.rpartition(".")[2]]
    if "decoder" in setting:
        values = values[::-1]
    return next(x for x in values if x != value)


def found_in(models: dict, setting: str):
    """Return the value that a model has of a setting."""
    group, *names = setting.split(".")
    if names[0] == "quantizer":
        return getattr(models[group].quantizer, names[1])
    value = models[group].settings()
    for name in names:
        value = value[name]
    return value


@pytest.mark.parametrize("name", all_configs())
def test_a_flag_sets_each_argument(name):
    config = load_config(name)
    groups = ["model"]
    if config.stage == "genie":
        groups = ["dynamics"]
        if not config.num_true_actions:
            groups.append("latent_action_model")
    given = {"remat": True}
    for group in groups:
        for setting, value in settings_of(config, group).items():
            given[setting] = another(setting, value)
        if config[group].get("quantizer", {}).get("levels"):
            given[f"{group}.quantizer.levels"] = ()  # None, for a codebook.
    models = build(parse(name, given))
    assert models.keys() == set(groups)
    del given["remat"]
    for setting, value in given.items():
        if not setting.endswith("levels"):
            assert found_in(models, setting) == value, setting
    for model in models.values():
        layers = [x for x in model.layers if isinstance(x, STTransformer)]
        assert layers and all(layer.remat for layer in layers)


@pytest.mark.parametrize(
    ("name", "group", "codes"),
    [
        ("coinrun_tokenizer:tiny", "model", "num_codes code_dim"),
        ("coinrun_lam:tiny", "model", "num_actions action_dim"),
    ],
)
def test_levels_make_a_finite_scalar_quantizer(name, group, codes):
    given = {f"{group}.{setting}": VALUES[setting][0] for setting in codes.split()}
    given[f"{group}.quantizer.levels"] = (3, 2, 2)
    quantizer = build(parse(name, given))[group].quantizer
    assert type(quantizer) is FiniteScalarQuantizer
    for argument in arguments_of(FiniteScalarQuantizer, GIVEN):
        assert getattr(quantizer, argument) == VALUES[argument][0]
