"""Agents: networks that play a game from its frames."""

from genie_tf.agents.agent import Agent
from genie_tf.agents.impala_agent import ImpalaAgent
