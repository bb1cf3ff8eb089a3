"""Watch an agent play a level of a Procgen game, as a GIF, MP4 or PNG.

genie-watch --agent=runs/agent/model --game=coinrun --level=20000 --output=agent.gif

The agent is the name or folder of a preset; uniform, which draws each action; or
right+jump. A strip below the frames shows its actions, the present one on yellow.
"""

from absl import flags

from genie_tf import media
from genie_tf.experiments import cli
from genie_tf.experiments.cli.players import check_players, make_player
from genie_tf.files import local_path

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_path("agent", None, "Preset of an agent, uniform or right+jump.")
    flags.DEFINE_string("game", "coinrun", "Name of a Procgen game.")
    flags.DEFINE_string("mode", "easy", "Mode of the game.")
    flags.DEFINE_integer(
        "level",
        20_000,
        "Number of the level.",
        lower_bound=0,
        upper_bound=2**31 - 2,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of the agent; equal seeds give equal videos.",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    flags.DEFINE_integer("fps", 15, "Frames per second.", lower_bound=1, upper_bound=50)
    cli.define_path("output", None, "Output file: .gif, .mp4 or .png.")


def main() -> None:
    # First check all that does not need Keras, whose import takes seconds.
    with cli.user_errors():
        media.check_video_path(FLAGS.output)
        cli.check_folder(local_path(FLAGS.output).parent)
        check_players([FLAGS.agent])
    cli.import_keras()
    from genie_tf.datasets.procgen.environment import ACTION_NAMES
    from genie_tf.evaluation.played_levels import play_once
    from genie_tf.media.action_strip import add_action_strip

    with cli.user_errors():
        policy, settings = make_player(FLAGS.agent, FLAGS.game, FLAGS.mode)
    (episode,) = play_once(policy, settings, [FLAGS.level], FLAGS.seed)
    names = settings.actions or ACTION_NAMES
    video = add_action_strip(episode.pixels(), episode.actions, names)
    with cli.user_errors():
        media.save_video(FLAGS.output, video, fps=FLAGS.fps)
    print(
        f"Wrote {FLAGS.output}: {len(episode.actions)} frames, return "
        f"{episode.rewards.sum():g}."
    )


def run() -> None:
    cli.run(main, define_flags, required=["agent", "output"])


if __name__ == "__main__":
    run()
