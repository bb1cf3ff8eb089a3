"""Feature networks for tests: mean colors of images or videos."""

import keras
import tensorflow as tf


def means(shape, name="Means"):
    """Return a Keras model whose features are the means of red, green and blue."""
    inputs = keras.Input(shape)
    pool = keras.layers.GlobalAveragePooling3D()
    if len(shape) == 3:
        pool = keras.layers.GlobalAveragePooling2D()
    return keras.Model(inputs, pool(inputs), name=name)


class SavedMeans(tf.Module):
    """SavedModel with one signature, for the mean colors of images or video."""

    def __init__(self, shape, dtype=tf.float32, outputs=("features",), key="images"):
        super().__init__()
        spec = tf.TensorSpec(shape, dtype, name=key)

        def call(images):
            images = tf.cast(images, tf.float64)
            mean = tf.reduce_mean(images, list(range(1, images.shape.rank - 1)))
            return {name: mean + i for i, name in enumerate(outputs)}

        self.call = tf.function(call, input_signature=[spec])

    def save(self, folder, name="serving_default"):
        tf.saved_model.save(self, folder, signatures={name: self.call})
        return str(folder)
