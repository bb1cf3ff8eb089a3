"""Plays a trained Genie in the browser: pick a picture, press keys, the world moves.

genie-play --preset=runs/genie/model

Prints the address of a page that this machine alone can open. docs/play.md has more.
"""

import contextlib
import json
import secrets
from pathlib import Path

from absl import flags
from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("preset", None, "Folder of a trained Genie.")
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to serve at; one that other machines can reach needs the token that is "
        "then printed.",
    )
    flags.DEFINE_integer(
        "port", 8000, "Port; 0 for any that is free.", lower_bound=0, upper_bound=65535
    )
    flags.DEFINE_integer("fps", 24, "Frames a second.", lower_bound=1, upper_bound=50)
    flags.DEFINE_integer(
        "players", 8, "How many may play at the same time.", lower_bound=1
    )
    cli.define_sampling_flags()


def main() -> None:
    for module in ("fastapi", "uvicorn", "websockets"):
        cli.check_installed(module, f"genie-play needs {module}", "[play]")
    from genie_tf import play
    from genie_tf.presets import load_preset

    with cli.user_errors():
        socket = play.bind(FLAGS.host, FLAGS.port)
        genie = load_preset(FLAGS.preset)
        names, keys = named_actions(Path(FLAGS.preset), genie.num_actions)
        print("Compiling ...", flush=True)
        server = play.PlayServer(
            play.Simulator(genie),
            FLAGS.preset,
            names,
            keys,
            FLAGS.fps,
            FLAGS.players,
            cli.sampling(),
        )
    token = None if play.is_loopback(FLAGS.host) else secrets.token_urlsafe()
    host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
    query = f"/?token={token}" if token else ""
    socket.listen()  # From now on a visitor waits for the server, and is not refused.
    print(f"Play at http://{host}:{socket.getsockname()[1]}{query}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        play.web_server(server.app(token)).run(sockets=[socket])


def named_actions(preset: Path, num_actions: int) -> tuple[list[str], dict[str, int]]:
    """The names of a preset's actions and the keys for them, as far as it has any.

    Raises:
        ValueError: if they are those of other actions.
    """
    config = json.loads((preset / "config.json").read_text())
    names, keys = config.get("action_names", []), config.get("keys", {})
    if names and len(names) != num_actions:
        raise ValueError(
            f"`action_names` must be {num_actions} texts, one for each action; received "
            f"{names}."
        )
    if not all(action in range(num_actions) for action in keys.values()):
        raise ValueError(
            f"`keys` must name actions from 0 to {num_actions - 1}; received {keys}."
        )
    return names, keys


def run() -> None:
    cli.run(main, define_flags, required=["preset"])


if __name__ == "__main__":
    run()
