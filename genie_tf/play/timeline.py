"""One player's history in bounded memory, with rewinding and branches."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Moment(NamedTuple):
    """One frame and the action that led to it.

    Attributes:
        action: action taken; None for the prompt frame.
        sampling: settings with which the frame was sampled.
        frame: pixels.
        state: state of the simulator, kept for only one moment per stride.
    """

    action: int | None
    sampling: Mapping
    frame: bytes
    state: dict | None


class Line(NamedTuple):
    """Consecutive moments; the first has a state.

    Attributes:
        id: unique id within the timeline.
        first: number of the oldest moment, a multiple of the stride.
        moments: moments, oldest first.
    """

    id: int
    first: int
    moments: list[Moment]

    @property
    def last(self) -> int:
        """Number of the newest moment."""
        return self.first + len(self.moments) - 1


class Timeline:
    """Line of moments, the present moment in it, and abandoned lines (branches).

    Acting anywhere but at the end of the line starts another line. States are large, so
    most are recomputed when needed: the same actions lead to the same frames.

    Args:
        simulator: a `Simulator`, or an object with the same methods.
        prompt: pixels and actions of the prompt; see `Simulator.start`.
        max_moments: number of moments to keep per line.
        max_branches: number of branches to keep.
        max_state_bytes: limit for all states together, in bytes.
        state_bytes: size of one state, in bytes.
    """

    def __init__(
        self,
        simulator,
        prompt: tuple[bytes, Sequence[int] | None],
        max_moments: int,
        max_branches: int,
        max_state_bytes: int,
        state_bytes: int,
    ):
        self._step: Callable = simulator.step
        self._max_moments = max_moments
        self._max_branches = max_branches
        kept = max(max_state_bytes // (state_bytes * (max_branches + 1)), 1)
        self._stride = math.ceil(max_moments / kept)
        self._ids = itertools.count(1)
        self._state, frame = simulator.start(*prompt)
        self._state_number = 0  # Number of the moment of `_state`.
        self.line = Line(0, 0, [Moment(None, {}, frame, self._state)])
        self.branches: list[Line] = []
        self.number = 0

    @property
    def present(self) -> Moment:
        """The moment that the player is at."""
        return self.line.moments[self.number - self.line.first]

    @property
    def state(self) -> dict:
        """State of the present moment; valid once `recall` returns True."""
        return self._state

    def recall(self) -> bool:
        """Compute one step toward the state of the present moment.

        Returns:
            Whether the state was already there.
        """
        if self._state_number == self.number:
            return True
        number = self._state_number + 1
        moment = self.line.moments[number - self.line.first]
        self._state, _ = self._step(self._state, moment.action, moment.sampling)
        self._state_number = number
        return False

    def advance(self, action: int, sampling: Mapping) -> Moment:
        """Act at the present moment, whose state must have been recalled.

        Returns:
            The next moment, which becomes the present one.
        """
        self._state, frame = self._step(self._state, action, sampling)
        if self.number < self.line.last:
            self._branch_off()
        self.number = self._state_number = self.number + 1
        state = None if self.number % self._stride else self._state
        moment = Moment(action, sampling, frame, state)
        self.line.moments.append(moment)
        if len(self.line.moments) > self._max_moments + self._stride:
            del self.line.moments[: self._stride]
            self.line = self.line._replace(first=self.line.first + self._stride)
        return moment

    def go_to(self, number: int) -> None:
        """Make another moment of the line the present one.

        Raises:
            ValueError: if the line does not have this moment, or no longer has it.
        """
        if not self.line.first <= number <= self.line.last:
            raise ValueError(
                f"The moments kept are {self.line.first} to {self.line.last}; received "
                f"{number}."
            )
        self.number = number
        self._find_state()

    def switch(self, branch: int) -> None:
        """Go to the end of a branch, and keep the present line as a branch.

        Raises:
            ValueError: if no branch has this id.
        """
        ids = [line.id for line in self.branches]
        if branch not in ids:
            raise ValueError(
                f"The branches kept are {', '.join(map(str, ids)) or 'none'}; received "
                f"{branch}."
            )
        line = self.branches.pop(ids.index(branch))
        self.branches.append(self.line)
        self.line = line
        self.number = line.last
        self._find_state()

    def _branch_off(self) -> None:
        """Start a new line from the moments up to the present one."""
        self.branches = [*self.branches, self.line][-self._max_branches :]
        moments = self.line.moments[: self.number - self.line.first + 1]
        self.line = Line(next(self._ids), self.line.first, moments)

    def _find_state(self) -> None:
        """Load the nearest earlier state that was kept; `recall` continues from it."""
        number = self.number
        while self.line.moments[number - self.line.first].state is None:
            number -= 1
        self._state_number = number
        self._state = self.line.moments[number - self.line.first].state
