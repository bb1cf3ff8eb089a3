import numpy as np

from genie_tf.pixels import to_bytes


def test_bytes_come_back():
    values = np.arange(256, dtype="uint8")
    np.testing.assert_array_equal(to_bytes(values.astype("float32") / 255), values)


def test_numbers_are_rounded_and_clipped():
    frames = np.array([-0.5, 0.0019, 0.0020, 0.5, 1.0, 7.0])
    np.testing.assert_array_equal(to_bytes(frames), [0, 0, 1, 128, 255, 255])
