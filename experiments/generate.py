"""Generate a video with a trained Genie, from an image and a list of actions.

genie-generate --preset=runs/genie/model --prompt=frame.png --actions=1,1,4,4 \
    --output=rollout.gif

The prompt can have several frames: --prompt=1.png,2.png,3.png. A guided world needs the
actions between them: --prompt_actions=4,4. Writes a GIF, a PNG (frames side by side) or
an MP4, depending on the name's ending.
"""

from absl import flags

from genie_tf import media
from genie_tf.experiments import cli
from genie_tf.files import local_path
from genie_tf.presets.folder import read_world

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("preset", None, "Name or folder of a trained Genie.")
    cli.define_prompt_flags()
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
        prompt = cli.read_prompt(frame_size, num_actions)
        actions = cli.parse_actions(FLAGS.actions, num_actions)
    cli.import_keras()
    from genie_tf.media.prompts import check_prompt_actions
    from genie_tf.models import WorldModel
    from genie_tf.samplers import WorldSampler

    with cli.user_errors():
        world = WorldModel.from_preset(FLAGS.preset)
        sampling = cli.sampling(world)
        check_prompt_actions(prompt, world.infers_actions, num_actions)
    video = WorldSampler(world).generate(
        prompt.frames[None],
        [actions],
        FLAGS.seed,
        sampling,
        prompt.actions and [prompt.actions],
    )
    with cli.user_errors():
        media.save_video(FLAGS.output, video[0], fps=FLAGS.fps)
    print(f"Wrote {FLAGS.output}: the prompt and {len(actions)} frames.")


def run() -> None:
    cli.run(main, define_flags, required=["preset", "prompt", "actions", "output"])


if __name__ == "__main__":
    run()
