"""Base class of all models: registration by name, loading and saving of presets."""

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
    """A model that can be saved as a preset or as part of one, see `genie_tf.presets`.

    Subclasses are registered by name when they are defined, except abstract ones:
    `class Name(PresetModel, contract=True)`.

    Attributes:
        part_name: name of the part of a world that this model is, and of its weights file;
            None for a world or an abstract class.
        layer_classes: for each argument that holds the arguments of a layer, a function
            from these to the layer's class. The layer is the attribute of the same name.
        cached_layer: the transformer whose keys and values are cached during play.

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
        """Return the constructor arguments, as numbers, strings, lists and dicts."""
        raise NotImplementedError

    def settings(self) -> dict:
        """Return the class name and arguments, as in presets and configs."""
        return {"class_name": type(self).__name__, **self.arguments()}

    def parts(self) -> dict[str, "PresetModel"]:
        """Return the models this one consists of, by name; just itself if it is a part."""
        return {self.part_name: self}

    def about(self) -> dict:
        """Return what must be known of a world before it is loaded; {} for a part."""
        return {}

    @property
    def cached_tokens(self) -> int:
        """Tokens per frame whose keys and values are cached during play."""
        return self.num_patches

    def cache_bytes(self, arguments: dict) -> int:
        """Return the size of one session's cache in bytes, for the `num_blocks` given."""
        if self.cached_layer is None:
            return 0
        layer = getattr(self, self.cached_layer)
        numbers = 2 * layer.num_heads * layer.head_dim * layer.cached_frames
        if layer.options.peg:
            numbers += 2 * 2 * layer.dim  # Two frames in two layers.
        # 4 bytes per float32.
        blocks = arguments[self.cached_layer]["num_blocks"]
        return 4 * numbers * self.cached_tokens * blocks

    def get_config(self):
        return {**super().get_config(), **self.arguments()}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        trainable = config.pop("trainable", True)
        model = super().from_config(config)
        if not trainable:  # Not before all layers exist.
            model.trainable = False
        return model

    @classmethod
    def outline(cls, arguments: dict) -> tuple["PresetModel", Counter]:
        """Check arguments without allocating weights, however large the model.

        Returns:
            The model without weights and with at most one block in each transformer; and
            the arrays of the full model, see `count_arrays`.

        Raises:
            ValueError: if the class does not accept these arguments.
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
            preset: a name from `genie_tf.list_presets()`, or a folder. A part can also be
                loaded from the preset of a world.

        Raises:
            ValueError: if there is no such preset, it holds another model, or it is
                damaged.
        """
        return load_preset(preset, cls)

    def save_to_preset(self, folder, description: str, **about) -> None:
        """Write this model as a preset folder.

        Args:
            folder, description, **about: see `genie_tf.presets.saving.save_preset`.

        Raises:
            ValueError: see `save_preset`.
        """
        save_preset(self, folder, description, **about)
