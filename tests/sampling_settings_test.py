"""Sampling settings: defaults, ranges and errors."""

import numpy as np
import pytest
from keras import ops

from genie_tf.models import Dynamics, MaskGitDynamics
from genie_tf.sampling_settings import (
    ALL_SETTINGS,
    ORDERS,
    Setting,
    complete_settings,
    settings_as_tensors,
)

DEFAULTS = {
    "num_steps": 4,
    "temperature": 1.0,
    "top_k": 0,
    "choice_temperature": 4.5,
    "order": "confidence",
}


def complete(given):
    return complete_settings(ALL_SETTINGS, given, "A sampler")


def test_missing_settings_have_defaults():
    assert complete(None) == complete({}) == DEFAULTS
    given = {"top_k": 7, "order": "random"}
    assert complete(given) == {**DEFAULTS, **given}
    assert given == {"top_k": 7, "order": "random"}


def test_defaults_are_valid():
    for setting in ALL_SETTINGS:
        setting.check(setting.default)
        assert setting.most is None or setting.default <= setting.most


@pytest.mark.parametrize(
    "given",
    [
        {"num_steps": 1, "top_k": 0, "temperature": 0, "choice_temperature": 0},
        {"num_steps": 999_999, "temperature": 999_999.5},
        {"num_steps": np.int64(3), "temperature": np.float32(0.5)},
        {"temperature": 2},
    ],
)
def test_valid_settings_are_accepted(given):
    assert complete(given) == {**DEFAULTS, **given}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"order": "raster"},
            "`order` must be one of confidence, halton, random; received 'raster'.",
        ),
        (
            {"order": ["halton"]},
            "`order` must be one of confidence, halton, random; received ['halton'].",
        ),
        *(
            (
                {"num_steps": value},
                "`num_steps` must be a whole number, 1 or more, and less than a million; "
                f"received {value!r}.",
            )
            for value in (0, 10**6, -3, 2.5, 2.0, True, "3", None)
        ),
        *(
            (
                {name: value},
                f"`{name}` must be 0 or more, and less than a million; received "
                f"{value!r}.",
            )
            for name, value in (
                ("temperature", -1.0),
                ("temperature", float("nan")),
                ("temperature", float("inf")),
                ("temperature", "1"),
                ("temperature", False),
                ("choice_temperature", -0.1),
            )
        ),
        (
            {"top_k": -1},
            "`top_k` must be a whole number, 0 or more, and less than a million; received "
            "-1.",
        ),
        (
            {"steps": 3},
            "A sampler has no setting 'steps': it has num_steps, temperature, top_k, "
            "choice_temperature, order.",
        ),
        (
            [("num_steps", 3)],
            '`sampling` must be a dict of settings, such as {"temperature": 0.0}; '
            "received [('num_steps', 3)].",
        ),
    ],
    ids=str,
)
def test_invalid_settings_are_rejected(given, message):
    with pytest.raises(ValueError) as error:
        complete(given)
    assert str(error.value) == message


class Greedy(Dynamics, contract=True):
    sampling_settings = (Setting("beams", "beams", 2, "How many.", 1),)


def test_dynamics_has_the_settings_that_it_lists():
    dynamics = Greedy()
    assert dynamics.complete_sampling() == {"beams": 2}
    assert dynamics.complete_sampling({"beams": 3}) == {"beams": 3}
    with pytest.raises(ValueError) as error:
        dynamics.complete_sampling({"num_steps": 4})
    assert str(error.value) == "A Greedy has no setting 'num_steps': it has beams."


def test_dynamics_can_have_no_settings():
    dynamics = Dynamics()
    assert dynamics.complete_sampling() == dynamics.sampling_tensors() == {}
    with pytest.raises(ValueError) as error:
        dynamics.complete_sampling({"top_k": 3})
    assert str(error.value) == "A Dynamics has no setting 'top_k': it has none."


def make_dynamics(**arguments):
    transformer = {"dim": 8, "num_blocks": 0, "num_heads": 1}
    return MaskGitDynamics(4, 2, 3, transformer, **arguments)


def test_a_model_can_have_its_own_defaults():
    dynamics = make_dynamics(sampling={"num_steps": 25, "temperature": 2})
    expected = {**DEFAULTS, "num_steps": 25, "temperature": 2.0}
    assert dynamics.complete_sampling() == expected
    assert dynamics.complete_sampling({"num_steps": 3})["num_steps"] == 3
    assert {x.name: x.default for x in dynamics.sampling_settings} == expected
    # A whole number does not turn the setting into one.
    tensor = dynamics.sampling_tensors({"temperature": 0.5})["temperature"]
    assert float(tensor) == 0.5
    assert make_dynamics().complete_sampling() == DEFAULTS
    assert dynamics.arguments()["sampling"] == {"num_steps": 25, "temperature": 2}


def test_preset_keeps_the_defaults(tmp_path):
    dynamics = make_dynamics(sampling={"num_steps": 25})
    dynamics.save_to_preset(tmp_path / "dynamics", "A card.")
    loaded = MaskGitDynamics.from_preset(tmp_path / "dynamics")
    assert loaded.complete_sampling() == {**DEFAULTS, "num_steps": 25}


def test_invalid_defaults_of_a_model_are_rejected():
    with pytest.raises(ValueError) as error:
        make_dynamics(sampling={"num_steps": 0})
    assert str(error.value) == (
        "`num_steps` must be a whole number, 1 or more, and less than a million; "
        "received 0."
    )
    with pytest.raises(ValueError, match="A MaskGitDynamics has no setting 'steps'"):
        make_dynamics(sampling={"steps": 4})


def test_tensor_types_do_not_depend_on_values():
    for order in ORDERS:
        values = complete({"temperature": 2, "order": order})
        tensors = settings_as_tensors(ALL_SETTINGS, values)
        assert tensors.keys() == DEFAULTS.keys()
        for setting in ALL_SETTINGS:
            tensor = ops.convert_to_numpy(tensors[setting.name])
            is_float = isinstance(setting.default, float)
            assert tensor.shape == ()
            assert tensor.dtype == ("float32" if is_float else "int32")
        assert int(tensors["order"]) == ORDERS.index(order)
        assert float(tensors["temperature"]) == 2
