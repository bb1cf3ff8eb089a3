"""Generate a video with a trained Genie, from an image and a list of actions.

genie-generate --preset=runs/genie/model --prompt=frame.png --actions=1,1,4,4 \
    --output=rollout.gif

Writes a GIF, a PNG (frames side by side) or an MP4, depending on the name's ending.
"""

from absl import flags

from genie_tf import media
from genie_tf.experiments import cli
from genie_tf.files import local_path
from genie_tf.presets.folder import read_world

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained Genie.")
    cli.define_path("prompt", None, "First frame: PNG, JPEG or GIF of any size.")
    flags.DEFINE_enum(
        "fit",
        "crop",
        media.FITS,
        "Way to fit the image to the frame: crop, scaled to cover it and cropped; or "
        "pad, scaled to fit into it, on black.",
    )
    flags.DEFINE_list("actions", None, "Latent actions, one per frame: 1,1,4.")
    cli.define_path("output", None, "Output file: .gif, .png or .mp4.")
    cli.define_sampling_flags()
    flags.DEFINE_integer(
        "fps", 10, "Frames per second.", lower_bound=1, upper_bound=1000
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of sampling; equal seeds give equal videos.",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )


def main() -> None:
    # First check all that does not need Keras, whose import takes seconds.
    with cli.user_errors():
        media.check_video_path(FLAGS.output)
        cli.check_folder(local_path(FLAGS.output).parent)
        frame_size, num_actions = read_world(FLAGS.preset)
        prompt = media.load_prompt_image(FLAGS.prompt, *frame_size, FLAGS.fit)
        actions = parse_actions(FLAGS.actions, num_actions)
    cli.import_keras()
    from genie_tf.models import WorldModel
    from genie_tf.samplers import WorldSampler

    with cli.user_errors():
        world = WorldModel.from_preset(FLAGS.preset)
        sampling = cli.sampling(world)
    video = WorldSampler(world).generate(
        prompt[None, None], [actions], FLAGS.seed, sampling
    )
    with cli.user_errors():
        media.save_video(FLAGS.output, video[0], fps=FLAGS.fps)
    print(f"Wrote {FLAGS.output}: the prompt and {len(actions)} frames.")


def parse_actions(words: list[str], num_actions: int) -> list[int]:
    """Return latent actions as numbers.

    Args:
        words: actions as typed.
        num_actions: number of latent actions of the world.

    Raises:
        ValueError: if there are none, or one is not an integer in [0, num_actions).
    """
    if not words or not all(
        word.strip().isdecimal() and int(word) < num_actions for word in words
    ):
        raise ValueError(
            f"--actions must be numbers from 0 to {num_actions - 1}, separated by "
            f"commas; received {','.join(words)!r}."
        )
    return [int(word) for word in words]


def run() -> None:
    cli.run(main, define_flags, required=["preset", "prompt", "actions", "output"])


if __name__ == "__main__":
    run()
