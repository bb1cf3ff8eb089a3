"""What the players of a world share: the model, its time and the seats."""

from collections.abc import Mapping, Sequence

from genie_tf.play.app import make_app, recording_forms, shipped_prompts
from genie_tf.play.guard import Guard
from genie_tf.play.player import Player
from genie_tf.play.scheduler import Scheduler
from genie_tf.play.simulator import Simulator
from genie_tf.play.timeline import Timeline
from genie_tf.sampling_settings import complete_settings

# Of each player.
MAX_MOMENTS = 720
MAX_BRANCHES = 3
MAX_STATE_BYTES = 128 * 2**20
MAX_FRAME_BYTES = 128 * 2**20


class PlayServer:
    """All that players share: the world, the thread that runs it, and the seats.

    Args:
        simulator: a `Simulator`, or what behaves as one.
        name: of the world, to show.
        action_names: a short text for each action; none if not given.
        keys: actions by the keys of a keyboard, as browsers name them.
        fps: frames a second that a world is played at, at most 50.
        max_players: how many may have a world at the same time.
        sampling: settings that frames are sampled with, until a player changes them;
            others have their defaults.

    Raises:
        ValueError: if there is no such setting, or a page could not set it so.
    """

    def __init__(
        self,
        simulator: Simulator,
        name: str,
        action_names: Sequence[str] = (),
        keys: Mapping[str, int] | None = None,
        fps: int = 24,
        max_players: int = 8,
        sampling: Mapping | None = None,
    ):
        self.simulator = simulator
        self.fps = fps
        self.sampling = complete_settings(simulator.settings, sampling, "This world")
        for setting in simulator.settings:
            value = self.sampling[setting.name]
            if setting.most is not None and value > setting.most:
                raise ValueError(
                    f"Worlds are played with a `{setting.name}` of at most "
                    f"{setting.most}; received {value}."
                )
        self.seats: dict[str, Player] = {}
        self._max_players = max_players
        self._world = {
            "name": name,
            "action_names": list(action_names),
            "keys": dict(keys or {}),
        }
        self.scheduler = Scheduler()
        self._state_bytes = simulator.warm_up()

    def greeting(self, id: str) -> dict:
        """What a page has to know first."""
        height, width, _ = self.simulator.frame_shape
        return {
            "type": "hello",
            "id": id,
            **self._world,
            "height": height,
            "width": width,
            "num_actions": self.simulator.num_actions,
            "fps": self.fps,
            "settings": [
                {
                    "name": setting.name,
                    "label": setting.label,
                    "value": self.sampling[setting.name],
                    "choices": setting.choices,
                    "least": setting.least,
                    "most": setting.most,
                    "step": 1 if isinstance(setting.default, int) else 0.1,
                }
                for setting in self.simulator.settings
                if setting.playable
            ],
            "prompts": list(shipped_prompts(height, width)),
            "recordings": list(recording_forms()),
        }

    def begin(self, picture: bytes) -> Timeline:
        """A world that starts from a picture."""
        moments = MAX_FRAME_BYTES // (len(picture) * (MAX_BRANCHES + 1))
        limits = MAX_BRANCHES, MAX_STATE_BYTES, self._state_bytes
        return Timeline(self.simulator, picture, min(moments, MAX_MOMENTS), *limits)

    def seat(self, player: Player) -> None:
        """Gives a player a seat, which `leave` frees.

        Raises:
            ValueError: if all are taken.
        """
        if player.id not in self.seats and len(self.seats) >= self._max_players:
            raise ValueError(
                f"All {self._max_players} seats are taken: try again when somebody has "
                "left."
            )
        self.seats[player.id] = player

    def leave(self, player: Player) -> None:
        """Frees a player's seat."""
        self.seats.pop(player.id, None)

    def app(
        self,
        token: str | None = None,
        root_path: str = "",
        allowed_origins: Sequence[str] = (),
    ) -> Guard:
        """The ASGI application; see `Guard` for the arguments."""
        return make_app(self, token, root_path, allowed_origins)
