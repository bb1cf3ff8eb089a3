"""Names of slices are checked, and devices come from libtpu."""

import importlib.util

import pytest

from genie_tf.training.tpu_slice import CHIPS, TpuSlice


def test_slice_has_chips():
    tpus = TpuSlice("v5p:4x4x8")
    assert tpus.num_chips == 128
    assert tpus.shape == (4, 4, 8)
    assert tpus.chip is CHIPS["v5p"]


@pytest.mark.parametrize(
    "name", ["", "v5e", "v7:2x2", "v5e:2x", "v5e:0x2", "v5e:2 x 2"]
)
def test_other_names_are_rejected(name):
    with pytest.raises(ValueError) as error:
        TpuSlice(name)
    assert str(error.value) == (
        "--compile_for must be a kind of TPU and the shape of a slice, such as v5e:4x8 or "
        f"v5p:4x4x4 (v4, v5e, v5p, v6e); is {name!r}."
    )


def test_other_dimensions_are_rejected():
    with pytest.raises(ValueError) as error:
        TpuSlice("v4:2x2")
    assert str(error.value) == "A slice of v4 has 3 dimensions; is 'v4:2x2'."


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs libtpu")
def test_libtpu_rejects_shapes_that_do_not_exist():
    with pytest.raises(ValueError, match="^libtpu does not know the slice v5e:3x3: "):
        TpuSlice("v5e:3x3").devices()
