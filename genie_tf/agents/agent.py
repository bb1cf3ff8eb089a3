"""Contract of agents, which choose actions from frames."""

from collections.abc import Sequence

import numpy as np

from genie_tf.layers.arguments import check_flag, check_frame_shape
from genie_tf.presets.model import PresetModel


class Agent(PresetModel, contract=True):
    """Player of a game, whose actions are drawn from a distribution.

    A call takes frames, uint8 (batch, height, width, channels), and returns logits of
    the actions, float32 (batch, num_actions), and values, float32 (batch,): estimates of
    the discounted rewards from each frame on.

    Args:
        game: name of the game that it plays, such as "coinrun".
        action_names: name of each action.
        frame_shape: (height, width, channels) of a frame.
        paint_velocity: whether its frames show the velocity, as CoinRun can paint it.

    Raises:
        ValueError: if an argument has another form.
    """

    part_name = "agent"

    def __init__(
        self,
        game: str,
        action_names: Sequence[str],
        frame_shape: Sequence[int],
        paint_velocity: bool,
    ):
        if not isinstance(game, str):
            raise ValueError(f"`game` must be a text; received {game!r}.")
        is_list = isinstance(action_names, (tuple, list)) and len(action_names) > 0
        if not is_list or not all(isinstance(name, str) for name in action_names):
            raise ValueError(
                "`action_names` must be a list of texts, one for each action; received "
                f"{action_names!r:.80}."
            )
        check_frame_shape(frame_shape)
        check_flag(paint_velocity=paint_velocity)
        super().__init__()
        self.game = game
        self.action_names = tuple(action_names)
        self.frame_shape = tuple(frame_shape)
        self.paint_velocity = paint_velocity

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return len(self.action_names)

    def arguments(self) -> dict:
        return {
            "game": self.game,
            "action_names": self.action_names,
            "frame_shape": self.frame_shape,
            "paint_velocity": self.paint_velocity,
        }

    def act(
        self,
        frames: np.ndarray,
        is_first: np.ndarray,
        rngs: Sequence[np.random.Generator],
    ) -> np.ndarray:
        """Draw an action in each level.

        Args:
            frames: uint8 (levels, height, width, channels).
            is_first: bool (levels,), whether a frame is the first of its episode. An
                agent with a memory forgets that level's past.
            rngs: generator of each level, the only source of random numbers.

        Returns:
            Integers (levels,), positions in `action_names`.
        """
        del is_first  # This agent has no memory.
        logits, _ = self.predict_on_batch(frames)
        noise = np.stack([rng.gumbel(size=self.num_actions) for rng in rngs])
        return np.argmax(logits + noise, axis=-1)
