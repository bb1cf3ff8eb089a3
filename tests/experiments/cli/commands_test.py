import pytest

from genie_tf.experiments.cli import UserError, run_module


def test_failing_command_is_reported(capfd):
    with pytest.raises(
        UserError, match="platform_of_none failed with exit code 1; see above"
    ):
        run_module("platform_of_none", "--flag=a b")
    assert "$ python -m platform_of_none '--flag=a b'\n" in capfd.readouterr().out


def test_command_is_timed():
    assert 0 < run_module("platform") < 60
