"""What one player has done, in bounded memory: to go back, and to act differently."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Moment(NamedTuple):
    """One frame, and what led to it.

    Attributes:
        action: None for the picture that a world starts from.
        sampling: how the frame was made.
        frame: its pixels.
        state: that of the simulator, kept for one moment in `stride` alone.
    """

    action: int | None
    sampling: Mapping
    frame: bytes
    state: dict | None


class Line(NamedTuple):
    """Moments in a row, of which the first has a state.

    Attributes:
        id: tells it from all other lines of a timeline.
        first: number of its oldest moment, a multiple of the stride.
        moments: the oldest first.
    """

    id: int
    first: int
    moments: list[Moment]

    @property
    def last(self) -> int:
        """Number of the newest moment."""
        return self.first + len(self.moments) - 1


class Timeline:
    """A line of moments, a place in it, and the lines left behind.

    Acting anywhere but at the line's end begins another line. States are large, so most
    are computed again when they are needed: the same actions lead to the same frames.

    Args:
        simulator: a `Simulator`, or what behaves as one.
        picture: what to start from, as of `Simulator.start`.
        max_moments: how many moments of a line are kept.
        max_branches: how many other lines are kept.
        max_state_bytes: of all states together.
        state_bytes: of one state.
    """

    def __init__(
        self,
        simulator,
        picture: bytes,
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
        self._state, frame = simulator.start(picture)
        self._state_number = 0  # Number of the moment that `_state` belongs to.
        self.line = Line(0, 0, [Moment(None, {}, frame, self._state)])
        self.branches: list[Line] = []
        self.number = 0

    @property
    def present(self) -> Moment:
        """The moment that the player is at."""
        return self.line.moments[self.number - self.line.first]

    @property
    def state(self) -> dict:
        """Of the present moment; to be had once `recall` says so."""
        return self._state

    def recall(self) -> bool:
        """Compute one step towards the state of the present moment.

        Returns:
            Whether the state is there, and none had to be computed.
        """
        if self._state_number == self.number:
            return True
        number = self._state_number + 1
        moment = self.line.moments[number - self.line.first]
        self._state, _ = self._step(self._state, moment.action, moment.sampling)
        self._state_number = number
        return False

    def advance(self, action: int, sampling: Mapping) -> Moment:
        """Act at the present moment, whose state has been recalled.

        Returns:
            The moment that follows, which is the present one from now on.
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
            ValueError: if the line has no such moment, or not any more.
        """
        if not self.line.first <= number <= self.line.last:
            raise ValueError(
                f"The moments kept are {self.line.first} to {self.line.last}; received "
                f"{number}."
            )
        self.number = number
        self._find_state()

    def switch(self, branch: int) -> None:
        """Go to the end of another line, and keep this one as a branch.

        Raises:
            ValueError: if there is no line with this id.
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
        """Leave the line for one that is the same up to the present moment."""
        self.branches = [*self.branches, self.line][-self._max_branches :]
        moments = self.line.moments[: self.number - self.line.first + 1]
        self.line = Line(next(self._ids), self.line.first, moments)

    def _find_state(self) -> None:
        """Take the nearest state that is kept, from which `recall` goes on."""
        number = self.number
        while self.line.moments[number - self.line.first].state is None:
            number -= 1
        self._state_number = number
        self._state = self.line.moments[number - self.line.first].state
