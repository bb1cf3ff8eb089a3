"""Records of the authors' code: weights, inputs and outputs, made as fixtures/README.md says."""

from pathlib import Path

import numpy as np
import pytest

FIXTURES = Path(__file__).parent / "fixtures"
FRAME_SHAPE = (8, 12, 3)


@pytest.fixture(scope="session")
def fixtures():
    return FIXTURES


@pytest.fixture(scope="session")
def jafar_arrays():
    """Parameters of a whole Genie of Jafar."""
    pytest.importorskip("msgpack")
    from genie_tf.convert import read_checkpoint

    return read_checkpoint(FIXTURES / "jafar" / "genie.msgpack")


@pytest.fixture(scope="session")
def jasmine_arrays():
    """Function from the name of a checkpoint of Jasmine to its arrays."""
    pytest.importorskip("msgpack")
    from genie_tf.convert import read_checkpoint

    return lambda name: read_checkpoint(FIXTURES / "jasmine" / f"{name}.msgpack")


@pytest.fixture(scope="session")
def redux_arrays():
    """Function from the name of a checkpoint of GenieRedux to its arrays."""
    pytest.importorskip("safetensors")
    from genie_tf.convert import read_checkpoint

    return lambda name: read_checkpoint(FIXTURES / "genieredux" / f"{name}.safetensors")


@pytest.fixture(scope="session")
def recorded():
    """Function from the path of a record to its arrays."""
    return lambda path: dict(np.load(FIXTURES / path))
