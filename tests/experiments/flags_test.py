"""Flags for every model argument of every shipped config."""

import inspect
from dataclasses import asdict
from importlib import import_module

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from genie_tf.experiments import configs
from genie_tf.experiments.cli.config_files import list_configs, load_config
from genie_tf.experiments.cli.flags import ConfigParser
from genie_tf.experiments.cli.settings import check_settings
from genie_tf.layers import FiniteScalarQuantizer, STTransformer, VectorQuantizer
from genie_tf.layers.transformer_options import TransformerOptions
from genie_tf.presets.registry import model_class
from genie_tf.presets.without_weights import without_weights
from genie_tf.testing.tiny_models import tiny_delta_tokenizer, tiny_tokenizer
from genie_tf.training.build import build_model, build_world

# Arguments that a world passes to its dynamics, and a model to its quantizer.
GIVEN = {"num_codes", "num_patches", "action_dim", "code_dim"}
GIVEN_TO_DYNAMICS = {
    *GIVEN,
    *("frame_shape", "patch_size", "levels", "depth", "reach", "margin"),
}
LAYERS = {
    "encoder": STTransformer,
    "decoder": STTransformer,
    "transformer": STTransformer,
    "motion": STTransformer,
    "painter": STTransformer,
    "quantizer": VectorQuantizer,
}
# Alternative values, which all fit each other.
VALUES = {
    "frame_shape": [(32, 48, 3)],
    "patch_size": [2],
    "num_codes": [12],
    "code_dim": [3],
    "num_actions": [12],
    "action_dim": [3],
    "conditioning": ["concat", "add"],
    "mask_rates": [(0.25, 0.75)],
    "sees_previous": [True, False],
    "sees_change": [True, False],
    "predicts": ["change", "token"],
    "action_from": ["patches"],
    "own_first_frame": [True],
    "output": ["linear"],
    "max_frames": [4],
    "num_steps": [7],
    "temperature": [0.5],
    "top_k": [3],
    "choice_temperature": [2.5],
    "order": ["halton"],
    "depth": [3],
    "reach": [(3, 2)],
    "margin": [6],
    "tolerance": [0.25],
    "error_rates": [(0.25, 0.75)],
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
    # Only cosine has a soft phase.
    "metric": ["cosine"],
    "centered": [True, False],
    "data_init": [True, False],
    "move_to": ["latents", "codes"],
    "unit_codes": ["never", "compared"],
    "dropout": [0.25],
    "levels": [(3, 2, 2)],
    "game": ["ninja"],
    "action_names": [("left", "right")],
    "paint_velocity": [True, False],
    "shrink": [8, 16],
    "channels": [(2, 3)],
    "mean_pooling": [True, False],
}


# Other values of all options of a transformer, with a grid for 16 patches.
OPTIONS = {
    "space_position": "sinusoidal",
    "time_position": "alibi",
    "peg": True,
    "space_bias_dim": 4,
    "grid": (4, 4),
    "feed_forward": "geglu",
    "order": "tfsf",
    "bias": "all",
    "norm_keys": False,
    "norm_epsilon": 0.01,
    "entry": True,
    "last_norm": False,
}


def all_configs():
    for name in list_configs():
        module = import_module(f"{configs.__name__}.{name}")
        sizes = module.ROWS if name == "steerability" else module.SIZES
        yield from (f"{name}:{size}" for size in sizes)


def parse(name: str, values: dict) -> ConfigDict:
    """Return the config that a program reads from its flags."""
    parsed = flags.FlagValues()
    argv = ["program", f"--config={name}"]
    argv += [f"--config.{setting}={value}" for setting, value in values.items()]
    config_flags.DEFINE_config_file("config", flag_values=parsed, sys_argv=argv)
    parser = parsed["config"].parser = ConfigParser()
    parser._loaded = False  # absl keeps one parser per process.
    parsed(argv)
    return parsed["config"].value


def build(config: ConfigDict) -> dict:
    """Return the models of a config, without weights, by their groups of settings."""
    if config.stage != "genie":
        return {"model": without_weights(lambda: build_model(config))}
    shape = config.latent_action_model.frame_shape

    changes = config.dynamics.class_name == "DeltaDynamics"
    tokenizer = (tiny_delta_tokenizer if changes else tiny_tokenizer)(frame_shape=shape)

    def make_world():
        return build_world(config, tokenizer)

    parts = without_weights(make_world).parts()
    del parts["tokenizer"]
    return parts


def list_arguments(constructor: type, given=frozenset()) -> set[str]:
    arguments = inspect.signature(constructor).parameters.keys()
    return arguments - given - {"kwargs", "remat", "options"}


def list_settings(config: ConfigDict, group: str) -> dict:
    """Return the flag of each argument of a model, with its value."""
    cls = model_class(config[group].class_name)
    flat = {}
    for name in list_arguments(
        cls, GIVEN_TO_DYNAMICS if group == "dynamics" else set()
    ):
        if name in LAYERS:
            for inner in list_arguments(LAYERS[name], GIVEN):
                flat[f"{group}.{name}.{inner}"] = config[group][name][inner]
        elif name == "sampling":
            for setting in cls.sampling_settings:
                flag = f"{group}.sampling.{setting.name}"
                flat[flag] = config[group].sampling[setting.name]
        else:
            flat[f"{group}.{name}"] = config[group][name]
    if cls.__name__ in ("CausalDynamics", "DeltaDynamics", "DeltaTokenizer"):
        # These have only one valid value.
        fixed = ("attention", "dropout")
        flat = {name: x for name, x in flat.items() if not name.endswith(fixed)}
    for name in options_of(config, group):
        # Options need attention over space and time.
        flat.pop(f"{group}.{name}.attention")
    return flat


def options_of(config: ConfigDict, group: str) -> dict:
    """Return the options of each transformer that has any."""
    default = asdict(TransformerOptions())
    transformers = {x: config[group][x] for x in LAYERS if x in config[group]}
    return {
        name: x.options.to_dict()
        for name, x in transformers.items()
        if "options" in x and x.options.to_dict() != default
    }


def other_value(setting: str, value):
    if value == "unit":  # A flag cannot change a name to True.
        return value
    values = VALUES[setting.rpartition(".")[2]]
    if "decoder" in setting:
        values = values[::-1]
    if setting in ("model.predicts", "latent_action_model.predicts"):
        values = ["change", "frame"]
    return next((x for x in values if x != value), value)


def read_setting(models: dict, setting: str):
    """Return a model's value of a setting."""
    group, *names = setting.split(".")
    if names[0] == "quantizer":
        return getattr(models[group].quantizer, names[1])
    value = models[group].settings()
    for name in names:
        value = value[name]
    return value


@pytest.mark.parametrize("name", list(all_configs()))
def test_flags_set_every_model_argument(name):
    config = load_config(name)
    groups = ["model"]
    if config.stage == "genie":
        groups = ["dynamics"]
        if not config.num_true_actions:
            groups.append("latent_action_model")
    has_blocks = config.stage != "agent"
    given = {"remat": True} if has_blocks else {}
    # Patch grids of the frames in VALUES. A dynamics has the grid of a tiny tokenizer.
    grids = dict.fromkeys(groups, (16, 24))
    grids["dynamics"] = (4, 6) if len(groups) == 2 else (8, 8)
    for group in groups:
        for setting, value in list_settings(config, group).items():
            given[setting] = other_value(setting, value)
        for layer, options in options_of(config, group).items():
            if options["grid"]:
                given[f"{group}.{layer}.options.grid"] = grids[group]
        if config[group].get("quantizer", {}).get("levels"):
            given[f"{group}.quantizer.levels"] = ()  # None, for a codebook.
    models = build(parse(name, given))
    assert models.keys() == set(groups)
    given.pop("remat", None)
    for setting, value in given.items():
        if not setting.endswith(("levels", "grid")):
            assert read_setting(models, setting) == value, setting
    for model in models.values() if has_blocks else ():
        layers = [x for x in model.layers if isinstance(x, STTransformer)]
        assert layers and all(layer.remat for layer in layers)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("coinrun_tokenizer:plain_tiny", "model.encoder"),
        ("coinrun_lam:plain_tiny", "model.decoder"),
        ("coinrun_genie:plain_tiny", "dynamics.transformer"),
    ],
)
def test_flags_set_every_option(name, setting):
    given = {f"{setting}.options.{x}": value for x, value in OPTIONS.items()}
    group, layer = setting.split(".")
    if group == "model":
        given["model.patch_size"] = 16
    else:
        given["latent_action_model.frame_shape"] = (32, 32, 3)
    models = build(parse(name, given))
    built = getattr(models[group], layer).options
    assert asdict(built) == OPTIONS
    changed = built.changed().keys()
    assert changed == asdict(TransformerOptions()).keys()


@pytest.mark.parametrize(
    ("name", "group", "codes"),
    [
        ("coinrun_tokenizer:tiny", "model", "num_codes code_dim"),
        ("coinrun_lam:tiny", "model", "num_actions action_dim"),
    ],
)
def test_levels_select_finite_scalar_quantizer(name, group, codes):
    given = {f"{group}.{setting}": VALUES[setting][0] for setting in codes.split()}
    given[f"{group}.quantizer.levels"] = (3, 2, 2)
    quantizer = build(parse(name, given))[group].quantizer
    assert type(quantizer) is FiniteScalarQuantizer
    for argument in list_arguments(FiniteScalarQuantizer, GIVEN):
        assert getattr(quantizer, argument) == VALUES[argument][0]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_flag_sets_metric(metric):
    config = parse("coinrun_tokenizer:tiny", {"model.quantizer.metric": metric})
    assert build(config)["model"].quantizer.metric == metric


@pytest.mark.parametrize(
    ("name", "setting", "number"),
    [
        ("coinrun_tokenizer:tiny", "clip_norm", 0.5),
        ("coinrun_tokenizer:paper", "clip_norm", 0.5),
        ("coinrun_tokenizer:tiny", "model.quantizer.idle_limit", 7),
        ("coinrun_tokenizer:paper", "model.quantizer.idle_limit", 7),
        ("coinrun_tokenizer:tiny", "model.encoder.mlp_dim", 7),
    ],
)
def test_flags_set_numbers_to_none_and_back(name, setting, number):
    for value in (None, number):
        config = parse(name, {setting: value})
        check_settings(config)
        *groups, last = setting.split(".")
        group = config
        for part in groups:
            group = group[part]
        assert group[last] == value


def test_number_that_cannot_be_none_is_rejected():
    config = parse("coinrun_tokenizer:tiny", {"steps": None})
    with pytest.raises(ValueError) as error:
        check_settings(config)
    assert str(error.value) == (
        "config.steps must be a whole number of 1 or more; is None."
    )
