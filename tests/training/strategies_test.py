"""Strategies are chosen by name, and impossible ones rejected; see also engine_test."""

import json

import pytest
import tensorflow as tf

from genie_tf.training.strategies import make_strategy


def test_auto_uses_one_device_if_only_one(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert make_strategy("one") is tf.distribute.get_strategy()
    if len(tf.config.list_logical_devices("GPU")) < 2:
        assert make_strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (
            {"name": "zero3"},
            None,
            "The strategy must be one of auto, one, mirrored, multi_worker, tpu; "
            "received 'zero3'.",
        ),
        ({"virtual_devices": 0}, None, "virtual_devices must be 1 or more; is 0."),
        (
            {"name": "multi_worker"},
            None,
            "The strategy multi_worker expects the environment variable TF_CONFIG to "
            "name all workers and the task of this one; it names none.",
        ),
        (
            {},
            "[1]",
            'TF_CONFIG must be like {"cluster": {"worker": ["HOST:PORT", ...]}, "task": '
            '{"type": "worker", "index": 0}}; received [1].',
        ),
    ],
)
def test_impossible_strategies_are_rejected(
    monkeypatch, arguments, environment, message
):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if environment:
        monkeypatch.setenv("TF_CONFIG", environment)
    with pytest.raises(ValueError) as error:
        make_strategy(**arguments)
    assert str(error.value) == message


def test_missing_tpu_is_reported(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(
        ValueError, match="^The strategy tpu found no TPU: pass its name"
    ):
        make_strategy("tpu")


def test_auto_uses_workers_in_tf_config(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    calls = []
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda: calls.append("strategy")
    )
    make_strategy()
    assert calls
