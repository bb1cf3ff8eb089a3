"""The configs train the models that `genie-convert` makes, at other sizes."""

import pytest

from genie_tf.convert import convert_genieredux, convert_jafar
from genie_tf.experiments.cli.config_files import load_config
from genie_tf.presets.without_weights import without_weights
from genie_tf.training.build import build_model, build_world

FRAME_SHAPE = (8, 12, 3)
SIZES = {
    *("frame_shape", "patch_size", "num_codes", "code_dim", "num_actions"),
    *("action_dim", "dim", "num_blocks", "num_heads", "head_dim", "mlp_dim"),
    *("window", "grid", "space_bias_dim", "max_frames"),
}


def resized(settings: dict, sizes: dict) -> dict:
    """Return settings with the sizes of others."""
    return {
        name: sizes.get(name, value)
        if name in SIZES
        else resized(value, sizes.get(name, {}))
        if isinstance(value, dict)
        else value
        for name, value in settings.items()
    }


def check(name: str, converted: dict) -> None:
    """Check that a config describes converted models, by their groups of settings.

    How tokens are sampled is not compared: the papers and their code disagree.
    """
    config = load_config(name)
    with config.unlocked():
        for group, model in converted.items():
            if group != "tokenizer":
                config[group] = resized(config[group].to_dict(), model.settings())
        if "num_true_actions" in config and config.num_true_actions:
            config.num_true_actions = converted["dynamics"].action_dim

    def make():
        if "model" in converted:
            return build_model(config)
        return build_world(config, converted["tokenizer"])

    built = without_weights(make).parts()
    for (group, expected), model in zip(converted.items(), built.values(), strict=True):
        assert complete(model) == complete(expected), group
        shapes = [[x.shape for x in y.weights] for y in (model, expected)]
        assert shapes[0] == shapes[1]


def complete(model) -> dict:
    """Return the settings of a model, with all arguments of its quantizer."""
    settings = {x: y for x, y in model.settings().items() if x != "sampling"}
    if "quantizer" in settings:
        settings["quantizer"] = model.quantizer.get_config()
        for name in ("name", "trainable"):
            del settings["quantizer"][name]
    return settings


@pytest.mark.parametrize("size", ["patch4", "patch16"])
def test_jafar(size, jafar_arrays):
    world = convert_jafar(jafar_arrays, frame_shape=FRAME_SHAPE)
    check(f"jafar_tokenizer:{size}", {"model": world.tokenizer})
    check("jafar_lam:paper", {"model": world.latent_action_model})
    check(f"jafar_genie:{size}", world.parts())


@pytest.mark.parametrize(
    ("config", "name"), [("genieredux_genie", "main"), ("genieredux_guided", "guided")]
)
def test_genieredux(config, name, redux_arrays):
    size = {"frame_shape": FRAME_SHAPE}
    tokenizer = convert_genieredux(redux_arrays("tokenizer"), **size)
    world = convert_genieredux(redux_arrays(name), tokenizer=tokenizer, **size)
    check("genieredux_tokenizer:paper", {"model": tokenizer})
    check(f"{config}:paper", world.parts())
