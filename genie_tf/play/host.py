"""State shared by all players: the simulator, its thread, seats and limits."""

from collections.abc import Mapping, Sequence

from genie_tf.media.prompts import Prompt
from genie_tf.play.scheduler import Scheduler, Share
from genie_tf.play.simulator import Simulator
from genie_tf.play.timeline import Timeline
from genie_tf.sampling_settings import complete_settings

# Limits per player.
MAX_MOMENTS = 720
MAX_BRANCHES = 3
MAX_STATE_BYTES = 128 * 2**20
MAX_FRAME_BYTES = 128 * 2**20


class Host:
    """World for several players: the thread that runs it, and their seats.

    Args:
        simulator: a `Simulator`, or an object with the same methods.
        name: displayed name of the world.
        action_names: short name of each action; none if not given.
        keys: action of each key; keys have the names that browsers give them.
        fps: frames per second, at most 50.
        max_players: maximum number of players with a world at the same time.
        sampling: initial sampling settings, which players can change; missing ones
            have their defaults.
        prompt: a prompt that the page offers, of one frame or more.

    Raises:
        ValueError: if a setting is unknown or out of the page's range, or the prompt lacks
            actions.

    Example:
        host = Host(Simulator(genie_tf.load("genie_coinrun")), "CoinRun")
        web_server(make_app(host)).run(sockets=[bind("127.0.0.1", 8000)])
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
        prompt: Prompt | None = None,
    ):
        self.simulator = simulator
        self.prompt = prompt
        self.fps = fps
        self.sampling = complete_settings(simulator.settings, sampling, "This world")
        for setting in simulator.settings:
            value = self.sampling[setting.name]
            if setting.most is not None and value > setting.most:
                raise ValueError(
                    f"To play, `{setting.name}` must be at most {setting.most}; "
                    f"received {value}."
                )
        self._name = name
        self._action_names = list(action_names)
        self._keys = dict(keys or {})
        self._max_players = max_players
        self._seats: set[str] = set()
        self._scheduler = Scheduler()
        self._state_bytes = simulator.warm_up()
        if prompt:
            simulator.start(*self._own_prompt())  # Compiles it.

    def describe(self) -> dict:
        """Return the description of the world that a page needs."""
        height, width, _ = self.simulator.frame_shape
        return {
            "name": self._name,
            "action_names": self._action_names,
            "keys": self._keys,
            "height": height,
            "width": width,
            "num_actions": self.simulator.num_actions,
            "fps": self.fps,
            "has_prompt": self.prompt is not None,
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
        """Return a new share of the thread's time."""
        return Share(self._scheduler)

    def start_timeline(self, frame: bytes | None) -> Timeline:
        """Start a world from an image, or None for the host's prompt; runs in a share."""
        prompt = self._own_prompt() if frame is None else (frame, None)
        frame_bytes = self.simulator.num_bytes
        moments = MAX_FRAME_BYTES // (frame_bytes * (MAX_BRANCHES + 1))
        limits = MAX_BRANCHES, MAX_STATE_BYTES, self._state_bytes
        return Timeline(self.simulator, prompt, min(moments, MAX_MOMENTS), *limits)

    def _own_prompt(self) -> tuple[bytes, Sequence[int] | None]:
        return self.prompt.frames.tobytes(), self.prompt.actions

    def take_seat(self, id: str) -> None:
        """Reserve a seat for the player with this id, until `free_seat`.

        Raises:
            ValueError: if all seats are taken.
        """
        if id not in self._seats and len(self._seats) >= self._max_players:
            raise ValueError(
                f"All {self._max_players} seats are taken: try again when a player "
                "leaves."
            )
        self._seats.add(id)

    def free_seat(self, id: str) -> None:
        """Free the seat of a player, if it has one."""
        self._seats.discard(id)
