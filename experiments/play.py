"""Serve a page on which to play a trained Genie.

genie-play --preset=runs/genie/model

Pick an image and press keys: the world moves. The page also offers a --prompt of one
frame or more, separated by commas; a guided world needs the --prompt_actions. Prints
the address of the page, which by default only this machine can open. See docs/play.md.
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
        "Address to serve at. If other machines can reach it, the page requires the "
        "token that is printed.",
    )
    flags.DEFINE_integer(
        "port", 8000, "Port; 0 for any free one.", lower_bound=0, upper_bound=65535
    )
    flags.DEFINE_bool(
        "token", False, "Require a token on this machine too, for a public proxy."
    )
    flags.DEFINE_multi_string(
        "allowed_origin",
        [],
        "Address of a proxy in front, such as https://world.example.com.",
    )
    flags.DEFINE_string(
        "root_path", "", "Path at which the proxy serves the page, such as /genie."
    )
    flags.DEFINE_integer("fps", 24, "Frames per second.", lower_bound=1, upper_bound=50)
    flags.DEFINE_integer(
        "players", 8, "Largest number of simultaneous players.", lower_bound=1
    )
    cli.define_prompt_flags()
    cli.define_sampling_flags()


def main() -> None:
    for module in ("fastapi", "uvicorn", "websockets"):
        cli.check_installed(module, f"genie-play needs {module}", "[play]")
    cli.check_preset(FLAGS.preset)
    cli.import_keras()
    from genie_tf import play, program_cache
    from genie_tf.media.prompts import check_prompt_actions
    from genie_tf.models import WorldModel
    from genie_tf.presets.folder import read_actions

    with cli.user_errors():
        root_path = play.check_root_path(FLAGS.root_path)
        origins = [play.check_origin(origin) for origin in FLAGS.allowed_origin]
        socket = play.bind(FLAGS.host, FLAGS.port)
        world = WorldModel.from_preset(FLAGS.preset)
        names, keys = read_actions(FLAGS.preset, world.num_actions)
        prompt = None
        if FLAGS.prompt:
            frame_size = world.tokenizer.frame_shape[:2]
            prompt = cli.read_prompt(frame_size, world.num_actions)
            check_prompt_actions(prompt, world.infers_actions, world.num_actions)
        print("Compiling ...", flush=True)
        host = play.Host(
            play.Simulator(world),
            FLAGS.preset,
            names,
            keys,
            FLAGS.fps,
            FLAGS.players,
            cli.sampling(world),
            prompt,
        )
    program_cache.keep()
    needs_token = FLAGS.token or not play.is_loopback(FLAGS.host)
    token = secrets.token_urlsafe() if needs_token else None
    urls = addresses(FLAGS.host, socket.getsockname()[1], origins, root_path, token)
    print(f"Play at {' or '.join(urls)}", flush=True)
    app = play.make_app(host, token, root_path, origins)
    play.web_server(app).run(sockets=[socket])


def addresses(
    host: str,
    port: int,
    origins: Sequence[str] = (),
    root_path: str = "",
    token: str | None = None,
) -> list[str]:
    """Return the addresses of the page: on this machine, and behind each proxy."""
    query = f"/?token={token}" if token else ""
    host = f"[{host}]" if ":" in host else host
    behind = [f"{origin}{root_path}{query or '/'}" for origin in origins]
    return [f"http://{host}:{port}{query}", *behind]


def run() -> None:
    cli.run(main, define_flags, required=["preset"])


if __name__ == "__main__":
    run()
