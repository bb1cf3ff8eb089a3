"""Plays a trained Genie in the browser: pick a picture, press keys, the world moves.

genie-play --preset=runs/genie/model

Prints the address of a page that this machine alone can open. docs/play.md has more.
"""

import secrets
from collections.abc import Sequence

from absl import flags

from genie_tf.experiments import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained Genie.")
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to serve at; one that other machines can reach needs the token that is "
        "then printed.",
    )
    flags.DEFINE_integer(
        "port", 8000, "Port; 0 for any that is free.", lower_bound=0, upper_bound=65535
    )
    flags.DEFINE_bool(
        "token", False, "Ask for a token here, too: for a proxy that others can reach."
    )
    flags.DEFINE_multi_string(
        "allowed_origin",
        [],
        "Address of a proxy in front, such as https://world.example.com; repeat it for "
        "several.",
    )
    flags.DEFINE_string(
        "root_path", "", "Path that the proxy serves the page at, such as /genie."
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
    from genie_tf.models import WorldModel
    from genie_tf.presets.folder import read_actions

    with cli.user_errors():
        root_path = play.check_root_path(FLAGS.root_path)
        origins = [play.check_origin(origin) for origin in FLAGS.allowed_origin]
        socket = play.bind(FLAGS.host, FLAGS.port)
        world = WorldModel.from_preset(FLAGS.preset)
        names, keys = read_actions(FLAGS.preset, world.num_actions)
        print("Compiling ...", flush=True)
        host = play.Host(
            play.Simulator(world),
            FLAGS.preset,
            names,
            keys,
            FLAGS.fps,
            FLAGS.players,
            cli.sampling(world),
        )
    program_cache.keep()
    is_open = FLAGS.token or not play.is_loopback(FLAGS.host)
    token = secrets.token_urlsafe() if is_open else None
    places = addresses(FLAGS.host, socket.getsockname()[1], origins, root_path, token)
    print(f"Play at {' or '.join(places)}", flush=True)
    app = play.make_app(host, token, root_path, origins)
    play.web_server(app).run(sockets=[socket])


def addresses(
    host: str,
    port: int,
    origins: Sequence[str] = (),
    root_path: str = "",
    token: str | None = None,
) -> list[str]:
    """Where the page can be opened: at this machine, and behind each proxy."""
    query = f"/?token={token}" if token else ""
    host = f"[{host}]" if ":" in host else host
    behind = [f"{origin}{root_path}{query or '/'}" for origin in origins]
    return [f"http://{host}:{port}{query}", *behind]


def run() -> None:
    cli.run(main, define_flags, required=["preset"])


if __name__ == "__main__":
    run()
