import numpy as np
import pytest

from genie_tf.datasets.actions import Actions, lower_limit, parse_actions
from genie_tf.errors import DataError

ACTIONS = Actions(("left", "right", "jump", "wait"), (0, 1, 3, 3))


def test_group_maps_equivalent_actions_to_one_number():
    grouped = ACTIONS.group(np.array([[0, 1], [2, 3]]))
    np.testing.assert_array_equal(grouped, [[0, 1], [3, 3]])
    assert ACTIONS.group(np.zeros((2, 0), int)).shape == (2, 0)


@pytest.mark.parametrize("actions", [[0, 4], [-1, 4]])
def test_group_rejects_unknown_actions(actions):
    with pytest.raises(ValueError, match="from 0 to 3, received values from .* to 4."):
        ACTIONS.group(actions)


def test_parse_actions_reads_description():
    description = {"names": list(ACTIONS.names), "groups": list(ACTIONS.groups)}
    assert parse_actions(description, "Data") == ACTIONS


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        {},
        {"names": ["a", "b"]},
        {"names": [], "groups": []},
        {"names": ["a", "a"], "groups": [0, 1]},
        {"names": ["a", 3], "groups": [0, 1]},
        {"names": ["a", "b"], "groups": [0]},
        {"names": ["a", "b"], "groups": [0, 2]},
        {"names": ["a", "b"], "groups": [0, -1]},
        {"names": ["a", "b"], "groups": [0, "1"]},
        {"names": ["a", "b"], "groups": [0, True]},
        # Group 1 is itself represented by 2.
        {"names": ["a", "b", "c"], "groups": [1, 2, 2]},
        {"names": 3, "groups": [0]},
        {"names": "ab", "groups": [0, 1]},
    ],
)
def test_parse_actions_rejects_other_descriptions(description):
    with pytest.raises(
        DataError, match="^Data describes actions as .*; expected distinct"
    ):
        parse_actions(description, "Data")


def test_lower_limit_is_minimum_of_both():
    assert lower_limit(None, None) is None
    assert lower_limit(9, None) == 9
    assert lower_limit(None, ACTIONS) == 4
    assert lower_limit(3, ACTIONS) == 3
    assert lower_limit(9, ACTIONS) == 4
