"""Policy of an agent."""

from collections.abc import Sequence

import numpy as np

from genie_tf.agents import Agent
from genie_tf.datasets.procgen.policies import Policy


class AgentPolicy(Policy):
    """Policy that draws the actions of an agent.

    Args:
        agent: an agent whose actions are those of the players.
    """

    name = "agent"

    def __init__(self, agent: Agent):
        self._agent = agent
        self._is_first = None

    def start_episodes(self, is_first: np.ndarray) -> None:
        """Make the agent forget the past of levels whose next frame starts an episode."""
        self._is_first = is_first

    def act(
        self, frames: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Sequence[int]:
        """Return the actions that the agent draws."""
        is_first, self._is_first = self._is_first, np.zeros(len(frames), bool)
        return self._agent.act(frames, is_first, rngs)
