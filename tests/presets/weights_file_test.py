"""Weights files are checked before Keras reads them."""

import os

import h5py
import numpy as np
import pytest

from genie_tf.presets.loading import load_preset
from genie_tf.testing.presets import (
    assert_equal_weights,
    error_message,
    update_checksum,
)


def test_weights_must_be_a_regular_file(folder, replace):
    path = folder / "dynamics.weights.h5"
    replace(path)
    assert error_message(load_preset, folder) == (
        f"{path} is missing, cannot be read, or is not a regular file."
    )


def test_link_to_weights_is_followed(folder, genie):
    path = folder / "dynamics.weights.h5"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    assert_equal_weights(load_preset(folder), genie)


@pytest.mark.parametrize("size", [0, 1000, 10**7, 2**40])
def test_weights_of_another_size_are_rejected(folder, size):
    """They are not read: reading the last one would take an hour."""
    path = folder / "tokenizer.weights.h5"
    os.truncate(path, size)
    error = error_message(load_preset, folder)
    assert error.startswith(
        f"Expected {path} to hold the weights that its config.json describes: they would "
        "take 31,"
    )
    assert error.endswith(f" bytes; it has {size:,}.")


def test_weights_larger_than_memory_are_rejected(folder, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if "SIZE" in name else 4)
    assert error_message(load_preset, folder) == (
        f"The weights in {folder}/tokenizer.weights.h5 need 0 GiB of memory; this "
        "machine has 0."
    )


def weights_error(folder):
    """Return the reason why a tokenizer's weights with a valid checksum are rejected."""
    update_checksum(folder, "tokenizer")
    expected = (
        f"Expected {folder}/tokenizer.weights.h5 to hold the weights that its "
        "config.json describes: "
    )
    error = error_message(load_preset, folder)
    assert error.startswith(expected) and error.endswith(".")
    return error[len(expected) : -1]


def test_weights_must_be_hdf5(folder):
    path = folder / "tokenizer.weights.h5"
    path.write_bytes(bytes(path.stat().st_size))
    assert weights_error(folder) == "it is not a readable HDF5 file"


def test_weights_of_another_model_are_rejected(folder):
    content = (folder / "dynamics.weights.h5").read_bytes()
    (folder / "tokenizer.weights.h5").write_bytes(content)
    assert weights_error(folder) == "it has arrays of other shapes"


def test_weights_under_other_names_are_rejected(folder):
    """Only Keras can detect this."""
    with h5py.File(folder / "tokenizer.weights.h5", "a") as file:
        file.move("decoder", "decoded")
    assert weights_error(folder) == "they belong to another model"


ARRAY = "decoder/norm/vars/0"  # (16,)


def replace_array(**arguments):
    """Return a function that replaces an array of a tokenizer by another one."""

    def change(file):
        del file[ARRAY]
        file.create_dataset(ARRAY, **arguments)

    return change


def virtual(file):
    layout = h5py.VirtualLayout((16,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", (16,))
    del file[ARRAY]
    file.create_virtual_dataset(ARRAY, layout)


def link(target):
    def change(file):
        del file[ARRAY]
        file[ARRAY] = target

    return change


def endless(file):
    file["decoder/again"] = file["decoder"]


def many(file):
    for number in range(2000):
        file[str(number)] = file["decoder"]


def named_type(file):
    file["type"] = np.dtype("f4")


NOT_PLAIN = f"its array /{ARRAY} is not stored as plain numbers"


OTHER_SHAPES = "it has arrays of other shapes"


TOO_MANY = "it has too many groups or arrays"


BOMBS = {
    "compressed": (
        replace_array(shape=(2**40,), dtype="f4", chunks=(2**20,), compression="gzip"),
        NOT_PLAIN,
    ),
    "chunked": (replace_array(shape=(16,), dtype="f4", chunks=(4,)), NOT_PLAIN),
    "never written": (replace_array(shape=(16,), dtype="f4"), NOT_PLAIN),
    "large and never written": (replace_array(shape=(2**40,), dtype="f4"), NOT_PLAIN),
    "in another file": (
        replace_array(shape=(16,), dtype="f4", external=[("/etc/passwd", 0, 64)]),
        NOT_PLAIN,
    ),
    "virtual": (virtual, NOT_PLAIN),
    "texts": (replace_array(data=["a"] * 16, dtype=h5py.string_dtype()), NOT_PLAIN),
    "lists": (
        replace_array(shape=(16,), dtype=h5py.vlen_dtype("f4")),
        NOT_PLAIN,
    ),
    "references": (
        replace_array(shape=(16,), dtype=h5py.ref_dtype, fillvalue=None),
        NOT_PLAIN,
    ),
    "records": (
        replace_array(data=np.zeros(16, [("a", "f4"), ("b", "f8")])),
        NOT_PLAIN,
    ),
    "complex": (replace_array(data=np.zeros(16, "c8")), NOT_PLAIN),
    "empty": (replace_array(data=h5py.Empty("f4")), NOT_PLAIN),
    "integers": (replace_array(data=np.zeros(16, "int32")), OTHER_SHAPES),
    "wider": (replace_array(data=np.zeros(17, "f4")), OTHER_SHAPES),
    "one more": (lambda file: file.update(more=np.zeros(3, "f4")), OTHER_SHAPES),
    "external link": (
        link(h5py.ExternalLink("other.h5", "/data")),
        "it has a link, 0",
    ),
    "soft link": (link(h5py.SoftLink("/decoder/norm/vars/1")), "it has a link, 0"),
    "a type": (named_type, "it has a type, type"),
    "endless": (endless, TOO_MANY),
    "many": (many, TOO_MANY),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_hdf5_with_other_content_is_rejected(folder, bomb):
    change, reason = BOMBS[bomb]
    with h5py.File(folder / "tokenizer.weights.h5", "a") as file:
        change(file)
    assert weights_error(folder) == reason
