"""What the players of a world share: the simulator, its worker, seats and limits."""

from collections.abc import Mapping, Sequence

from genie_tf.play.scheduler import Scheduler, Share
from genie_tf.play.simulator import Simulator
from genie_tf.play.timeline import Timeline
from genie_tf.sampling_settings import complete_settings

# Of each player.
MAX_MOMENTS = 720
MAX_BRANCHES = 3
MAX_STATE_BYTES = 128 * 2**20
MAX_FRAME_BYTES = 128 * 2**20


class Host:
    """A world for several players: the thread that runs it, and their seats.

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
        self._name = name
        self._action_names = list(action_names)
        self._keys = dict(keys or {})
        self._max_players = max_players
        self._seats: set[str] = set()
        self._scheduler = Scheduler()
        self._state_bytes = simulator.warm_up()

    def describe(self) -> dict:
        """Return what a page has to know of the world."""
        height, width, _ = self.simulator.frame_shape
        return {
            "name": self._name,
            "action_names": self._action_names,
            "keys": self._keys,
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
        }

    def share(self) -> Share:
        """Return a new player's share of the thread's time."""
        return Share(self._scheduler)

    def start_timeline(self, picture: bytes) -> Timeline:
        """Begin a world from a picture; runs in a share."""
        moments = MAX_FRAME_BYTES // (len(picture) * (MAX_BRANCHES + 1))
        limits = MAX_BRANCHES, MAX_STATE_BYTES, self._state_bytes
        return Timeline(self.simulator, picture, min(moments, MAX_MOMENTS), *limits)

    def take_seat(self, id: str) -> None:
        """Give a seat to the player with this id, until `free_seat`.

        Raises:
            ValueError: if all are taken.
        """
        if id not in self._seats and len(self._seats) >= self._max_players:
            raise ValueError(
                f"All {self._max_players} seats are taken: try again when somebody has "
                "left."
            )
        self._seats.add(id)

    def free_seat(self, id: str) -> None:
        """Free the seat of a player, who need not have one."""
        self._seats.discard(id)
