"""Policy of a trained agent, which a preset holds."""

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from genie_tf.datasets.procgen.environment import ACTION_NAMES
from genie_tf.datasets.procgen.levels import Settings
from genie_tf.datasets.procgen.policies import Policy, PolicyError
from genie_tf.presets.folder import read_config


class PresetPolicy(Policy):
    """Policy that plays as a trained agent; see `genie_tf.agents.Agent`.

    Args:
        game: name in `environment.GAMES`.
        preset: name or folder of the agent's preset.
        digest: `preset_digest` of the expected agent; by default any.
    """

    def __init__(self, game: str, preset: str = "", digest: str = ""):
        self._game = game
        self._preset = preset
        self._digest = digest
        self._player = None

    def open_levels(self, settings: Settings, level_seeds: Sequence[int]) -> None:
        """Load the agent, unless it is loaded, and check that it plays these levels."""
        from genie_tf.datasets.procgen.agent_policy import AgentPolicy

        if self._player is None:
            self._agent = self._load()
            self._player = AgentPolicy(self._agent)
        for part, expected, received in (
            ("game", self._game, self._agent.game),
            (
                "actions",
                tuple(settings.actions or ACTION_NAMES),
                self._agent.action_names,
            ),
            (
                "paint_velocity",
                settings.paint_velocity,
                self._agent.paint_velocity,
            ),
        ):
            if received != expected:
                raise PolicyError(
                    f"The agent {self._preset} cannot play this dataset: expected the "
                    f"{part} {_show(expected)}; it was trained with {_show(received)}."
                )

    def _load(self):
        from genie_tf.agents import Agent
        from genie_tf.presets.loading import load_preset

        try:
            digest = preset_digest(self._preset)
            agent = load_preset(self._preset, Agent)
        except ValueError as error:
            raise PolicyError(str(error)) from error
        if self._digest not in ("", digest):
            raise PolicyError(
                f"The agent {self._preset} has changed: expected the digest "
                f"{self._digest}; received {digest}."
            )
        self.name = f"agent_{digest[:16]}"
        return agent

    def start_episodes(self, is_first: np.ndarray) -> None:
        """Tell the agent, with the next frames, which ones start an episode."""
        self._player.start_episodes(is_first)

    def act(
        self, frames: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Sequence[int]:
        """Return the agent's actions."""
        return self._player.act(frames, rngs)


def preset_digest(preset: str) -> str:
    """Return a checksum of a preset's settings and weight files, without loading it.

    Raises:
        ValueError: if there is no such preset.
    """
    config = read_config(preset)
    known = [config[name] for name in ("class_name", "parts", "sha256")]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def find_agent(dataset: str, settings: Settings) -> Settings:
    """Return settings with the preset and digest of the agent that plays, if one does.

    Args:
        dataset: name of the dataset. Without a preset, an environment variable names it,
            such as COINRUN_AGENT for "coinrun".
        settings: how the levels are played.

    Raises:
        ValueError: if an agent plays but no preset is given, or it does not exist.
    """
    if settings.policy != "agent":
        return settings
    variable = f"{dataset.upper()}_AGENT"
    given = settings.policy_arguments
    preset = given.get("preset") or os.environ.get(variable)
    if not preset:
        raise ValueError(
            f"A trained agent plays this dataset: set the environment variable {variable} "
            "to its preset."
        )
    arguments = {"preset": preset, "digest": preset_digest(preset), **given}
    return settings._replace(policy_arguments=arguments)


def _show(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
