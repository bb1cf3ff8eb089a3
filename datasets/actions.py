"""What the discrete actions of a dataset are called, and which of them do the same."""

from typing import Any, NamedTuple

import numpy as np

from genie_tf.errors import DataError


class Actions(NamedTuple):
    """Names and groups of the actions 0, 1, ... of a dataset.

    Attributes:
        names: of each action.
        groups: for each action, the one that stands for all that do the same; itself if
            no other one does.

    Example:
        ```python
        actions = Actions(("left", "right", "jump", "wait"), (0, 1, 2, 2))
        actions.group([3, 0])  # array([2, 0]): here, waiting is like jumping.
        ```
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]

    def group(self, actions) -> np.ndarray:
        """Return the actions that stand for the groups of some actions.

        Args:
            actions: integers of any shape.

        Raises:
            ValueError: if an action is out of range.
        """
        actions = np.asarray(actions)
        if actions.size and not 0 <= actions.min() <= actions.max() < len(self.names):
            raise ValueError(
                f"Expected actions from 0 to {len(self.names) - 1}, received values "
                f"from {actions.min()} to {actions.max()}."
            )
        return np.asarray(self.groups)[actions]


def parse_actions(description: Any, where: str) -> Actions:
    """Return the actions that the description of a dataset has.

    Args:
        description: a dictionary of "names" and "groups", as lists.
        where: what they are of, the beginning of a sentence.

    Raises:
        DataError: if it is not of that form.
    """
    try:
        names, groups = description["names"], description["groups"]
        valid = (
            isinstance(names, list)
            and all(isinstance(name, str) for name in names)
            and len(set(names)) == len(names) == len(groups) > 0
            and all(type(group) is int and group >= 0 for group in groups)
            and all(groups[group] == group for group in groups)
        )
    except (TypeError, KeyError, IndexError):
        valid = False
    if not valid:
        raise DataError(
            f"{where} describes actions as {description!r}; expected names that differ, "
            "and groups: for each name, the number of the action that stands for all "
            "that do the same."
        )
    return Actions(tuple(names), tuple(groups))


def lower_limit(num_actions: int | None, actions: Actions | None) -> int | None:
    """Return how many actions may be read: as many as asked for, and as have names."""
    limits = [num_actions, None if actions is None else len(actions.names)]
    return min((limit for limit in limits if limit is not None), default=None)
