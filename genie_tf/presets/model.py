"""What all models share: a name in the registry, and presets to be saved as."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import ClassVar

import keras

from genie_tf.forks import check_can_run
from genie_tf.layers import check_whole
from genie_tf.presets import registry
from genie_tf.presets.loading import load_preset
from genie_tf.presets.saving import save_preset
from genie_tf.presets.weights_file import count_arrays
from genie_tf.presets.without_weights import without_weights


class PresetModel(keras.Model):
    """A model that is a preset, or part of one: see `genie_tf.presets`.

    Classes are found by name as soon as they are defined, but for those that only say
    what others have to do: `class Name(PresetModel, contract=True)`.

    Attributes:
        part_name: what part of a world this is, which names its file of weights; None
            for a world, and for what is only a base class.
        layer_classes: for each argument that is itself the arguments of a layer, a
            function from these to the layer's class. A layer is an attribute of the same
            name.
        cached_layer: the transformer whose keys and values are remembered in play.

    Raises:
        RuntimeError: in a process where no model can run, see `check_can_run`.
    """

    part_name: ClassVar[str | None] = None
    layer_classes: ClassVar[Mapping[str, Callable[[dict], type]]] = {}
    cached_layer: ClassVar[str | None] = None

    def __init_subclass__(cls, contract: bool = False, **kwargs):
        super().__init_subclass__(**kwargs)
        if not contract:
            registry.register(cls)

    def __init__(self, **kwargs):
        check_can_run()
        super().__init__(**kwargs)

    def arguments(self) -> dict:
        """Return the arguments that make this model what it is, plain numbers and words."""
        raise NotImplementedError

    def settings(self) -> dict:
        """Return class name and arguments, as a preset and a config have them."""
        return {"class_name": type(self).__name__, **self.arguments()}

    def parts(self) -> dict[str, "PresetModel"]:
        """Return the models this one is made of, by name; itself, if of no others."""
        return {self.part_name: self}

    def about(self) -> dict:
        """Return what has to be known of a world before it is loaded; {} of a part."""
        return {}

    @property
    def cached_tokens(self) -> int:
        """Tokens of a frame whose keys and values are remembered in play."""
        return self.num_patches

    def cache_bytes(self, arguments: dict) -> int:
        """Return how much a video takes in play, with as many blocks as arguments say."""
        if self.cached_layer is None:
            return 0
        layer = getattr(self, self.cached_layer)
        numbers = 2 * layer.num_heads * layer.head_dim * self.cached_tokens
        # In float32.
        return 4 * numbers * layer.window * arguments[self.cached_layer]["num_blocks"]

    def get_config(self):
        return {**super().get_config(), **self.arguments()}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        trainable = config.pop("trainable", True)
        model = super().from_config(config)
        if not trainable:  # Only now, when all layers are there to be told.
            model.trainable = False
        return model

    @classmethod
    def outline(cls, arguments: dict) -> tuple["PresetModel", Counter]:
        """Check arguments without using memory for weights, however large the model.

        Returns:
            The model with at most one block in each transformer, and without weights; and
            the arrays of all of its blocks, see `count_arrays`.

        Raises:
            ValueError: if the class has no such arguments.
        """
        try:
            registry.check_arguments(cls, arguments)
            few, num_blocks = dict(arguments), {}
            for name, layer_class in cls.layer_classes.items():
                if not arguments.get(name):
                    continue
                registry.check_arguments(layer_class(arguments[name]), arguments[name])
                if "num_blocks" in arguments[name]:
                    blocks = arguments[name]["num_blocks"]
                    check_whole(num_blocks=blocks, least=0)
                    num_blocks[name] = blocks
                    few[name] = {**arguments[name], "num_blocks": min(blocks, 1)}
            model = without_weights(lambda: cls(**few))
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error
        arrays = count_arrays(model.variables)
        for name, blocks in num_blocks.items():
            if blocks:
                block = count_arrays(getattr(model, name).blocks[0].variables)
                for array, count in block.items():
                    arrays[array] += (blocks - 1) * count
        return model, arrays

    @classmethod
    def from_preset(cls, preset: str | os.PathLike):
        """Return the trained model of this class in a preset.

        Args:
            preset: the name of one that ships with genie_tf, of
                `genie_tf.list_presets()`, or a folder. A part is found in the preset of
                a world too.

        Raises:
            ValueError: if there is no such preset, or it holds another model, or is
                damaged.
        """
        return load_preset(preset, cls)

    def save_to_preset(self, folder, description: str, **about) -> None:
        """Write this model as a preset folder.

        Args:
            folder, description, **about: see `genie_tf.presets.saving.save_preset`.

        Raises:
            ValueError: as `save_preset` does.
        """
        save_preset(self, folder, description, **about)
