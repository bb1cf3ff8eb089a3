"""Generative interactive environments (Genie) in TensorFlow and Keras."""

from genie_tf.presets.folder import list_presets

__version__ = "0.1.0"
