"""What all models share: they are saved as presets, and loaded from them."""

import keras

from genie_tf.forks import check_can_run


class PresetModel(keras.Model):
    """A model that is a preset, or part of one: see `genie_tf.presets`.

    Raises:
        RuntimeError: in a process where no model can run, see `check_can_run`.
    """

    def __init__(self, **kwargs):
        check_can_run()
        super().__init__(**kwargs)

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        trainable = config.pop("trainable", True)
        model = super().from_config(config)
        if not trainable:  # Only now, when all layers are there to be told.
            model.trainable = False
        return model

    @classmethod
    def from_preset(cls, preset):
        """The trained model of this class in a preset.

        Args:
            preset: the name of one that ships with genie_tf, of
                `genie_tf.list_presets()`, or a folder. A part is found in the preset of
                a Genie too.

        Raises:
            ValueError: if there is no such preset, or it holds another model, or is
                damaged.
        """
        from genie_tf.presets import load_preset  # Presets are made of models.

        return load_preset(preset, cls)

    def save_to_preset(self, folder, description: str, **about) -> None:
        """Writes this model as a preset folder.

        Args:
            folder, description, **about: as of `genie_tf.presets.save_preset`.

        Raises:
            ValueError: as `save_preset` does.
        """
        from genie_tf.presets import save_preset

        save_preset(self, folder, description, **about)
