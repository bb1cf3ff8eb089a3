"""Training that starts from the weights of a preset, and frozen parts of a model."""

import re
from collections import Counter
from collections.abc import Collection

import keras

from genie_tf.models import WorldModel
from genie_tf.models.tokenizer import freeze
from genie_tf.presets.folder import read_config
from genie_tf.presets.loading import load_preset

_NAMED = 3  # Weights that an error names.


def start_from(model: keras.Model, preset: str, kept: Collection[str] = ()) -> None:
    """Give a model the weights of a preset: all of them, or those of a part.

    Args:
        model: a `PresetModel`.
        preset: a name or folder, see `find_preset`. For a tokenizer or latent action
            model, it holds one, or a world with one; for a world, a world of the same
            class, or one of its parts.
        kept: parts of a world that keep their weights.

    Raises:
        ValueError: if the preset can't be loaded, holds another model, or has weights of
            other shapes, which are named.
    """
    config = read_config(preset)
    parts = {name: part for name, part in model.parts().items() if name not in kept}
    names = [name for name in parts if name in config["parts"]]
    other_world = len(config["parts"]) > 1 and (
        isinstance(model, WorldModel) and config["class_name"] != type(model).__name__
    )
    if other_world or not names:
        raise ValueError(
            f"A {type(model).__name__} cannot start from {preset}, which holds a "
            f"{config['class_name']}."
        )
    for name in names:
        part = parts[name]
        source = load_preset(preset, type(part))
        if type(source) is not type(part):
            raise ValueError(
                f"A {type(part).__name__} cannot start from the "
                f"{type(source).__name__} in {preset}."
            )
        theirs, ours = _weights(source), _weights(part)
        wrong = [
            f"{name}/{weight} is {_shape(theirs, weight)} in the preset and "
            f"{_shape(ours, weight)} in the config"
            for weight in theirs | ours
            if _shape(theirs, weight) != _shape(ours, weight)
        ]
        if wrong:
            more = f"; and {len(wrong) - _NAMED} more" if wrong[_NAMED:] else ""
            raise ValueError(
                f"The weights of {preset} do not fit the config: "
                f"{'; '.join(wrong[:_NAMED])}{more}."
            )
        for weight, variable in ours.items():
            variable.assign(keras.ops.convert_to_numpy(theirs[weight]))


def freeze_layers(model: keras.Model, names: str) -> None:
    """Freeze parts and layers of a model.

    Args:
        model: a `PresetModel`.
        names: parts of a world, or layers of a model, separated by commas, such as
            "latent_action_model,dynamics.transformer" or "encoder,quantizer".

    Raises:
        ValueError: if there is no such part or layer, or nothing is left to train.
    """
    for name in filter(None, names.split(",")):
        layer = model
        for attribute in name.split("."):
            layers = _layers(layer)
            if attribute not in layers:
                raise ValueError(
                    f"config.frozen names {name!r}, but a {type(layer).__name__} has no "
                    f"{attribute!r}: it has {', '.join(layers) or 'no layers'}."
                )
            layer = layers[attribute]
        freeze(layer)
    if not model.trainable_variables:
        raise ValueError(f"config.frozen={names} leaves nothing to train.")


def _layers(layer: keras.Layer) -> dict[str, keras.Layer]:
    """Return the layers that are attributes of a layer, by name."""
    return {
        name: value
        for name, value in sorted(vars(layer).items())
        if isinstance(value, keras.Layer) and not name.startswith("_")
    }


def _weights(part: keras.Model) -> dict[str, keras.Variable]:
    """Return the weights of a part, by names that do not depend on other models."""
    owners = {
        id(variable): name
        for name, layer in _layers(part).items()
        for variable in layer.variables
    }
    weights, counts = {}, Counter()
    for variable in part.variables:
        _, *path = re.sub(r"_\d+(?=/|$)", "", variable.path).split("/")
        path[0] = owners.get(id(variable), path[0])
        name = "/".join(path)
        counts[name] += 1  # Such as those of several blocks.
        weights[f"{name} {counts[name]}" if counts[name] > 1 else name] = variable
    return weights


def _shape(weights: dict[str, keras.Variable], name: str) -> tuple | str:
    return tuple(weights[name].shape) if name in weights else "missing"
