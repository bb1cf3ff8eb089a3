"""Plays a trained Genie in the browser: pick a picture, press keys, the world moves.

genie-play --preset=runs/genie/model

Prints the address of a page that this machine alone can open. docs/play.md has more.
"""

import contextlib
import secrets

from absl import flags
from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("preset", None, "Name or folder of a trained Genie.")
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
    cli.check_preset(FLAGS.preset)
    cli.import_keras()
    from genie_tf import play, program_cache
    from genie_tf.models import World
    from genie_tf.presets import read_actions

    with cli.user_errors():
        socket = play.bind(FLAGS.host, FLAGS.port)
        genie = World.from_preset(FLAGS.preset)
        names, keys = read_actions(FLAGS.preset, genie.num_actions)
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
    program_cache.keep()
    token = None if play.is_loopback(FLAGS.host) else secrets.token_urlsafe()
    host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
    query = f"/?token={token}" if token else ""
    socket.listen()  # From now on a visitor waits for the server, and is not refused.
    print(f"Play at http://{host}:{socket.getsockname()[1]}{query}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        play.web_server(server.app(token)).run(sockets=[socket])


def run() -> None:
    cli.run(main, define_flags, required=["preset"])


if __name__ == "__main__":
    run()
