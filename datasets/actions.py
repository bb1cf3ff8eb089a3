"""Names of a dataset's discrete actions, and groups of equivalent ones."""

from typing import Any, NamedTuple

import numpy as np

from genie_tf.errors import DataError


class Actions(NamedTuple):
    """Names and groups of the actions 0, 1, ... of a dataset.

    Attributes:
        names: name of each action.
        groups: for each action, the action that represents its group of equivalent
            actions; itself if it has no equivalent.

    Example:
        ```python
        actions = Actions(("left", "right", "jump", "wait"), (0, 1, 2, 2))
        actions.group([3, 0])  # array([2, 0]): here, waiting equals jumping.
        ```
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]

    def group(self, actions) -> np.ndarray:
        """Map actions to the representatives of their groups.

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
    """Parse the description of a dataset's actions.

    Args:
        description: dictionary with lists "names" and "groups".
        where: origin of the description, which starts the error message.

    Raises:
        DataError: if the description has another form.
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
            f"{where} describes actions as {description!r}; expected distinct names and "
            "groups: for each name, the number of the action that represents all "
            "equivalent ones."
        )
    return Actions(tuple(names), tuple(groups))


def lower_limit(num_actions: int | None, actions: Actions | None) -> int | None:
    """Return the smaller of `num_actions` and the number of named actions, if any."""
    limits = [num_actions, None if actions is None else len(actions.names)]
    return min((limit for limit in limits if limit is not None), default=None)
