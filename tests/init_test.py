"""Public names of `genie_tf`."""

import subprocess
import sys

import pytest

import genie_tf


def test_names_resolve_on_first_use():
    from genie_tf import models
    from genie_tf.presets import folder, loading

    assert genie_tf.Genie is models.Genie
    assert genie_tf.VideoTokenizer is models.VideoTokenizer
    assert genie_tf.list_presets is folder.list_presets
    assert genie_tf.load is loading.load_preset


def test_dir_lists_public_names():
    assert set(genie_tf.__all__) < set(dir(genie_tf))
    for name in genie_tf.__all__:
        getattr(genie_tf, name)


def test_unknown_name_raises_attribute_error():
    with pytest.raises(
        AttributeError, match="module 'genie_tf' has no attribute 'genie'"
    ):
        genie_tf.genie  # noqa: B018


def test_importing_genie_tf_imports_only_standard_library():
    program = (
        "import sys; before = set(sys.modules); import genie_tf; dir(genie_tf); "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert set(printed.split()) <= {"genie_tf"} | sys.stdlib_module_names
