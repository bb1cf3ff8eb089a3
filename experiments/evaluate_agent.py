"""Measure which share of unseen levels agents and scripted players solve.

genie-evaluate-agent --players=uniform,right+jump,runs/agent/model --output=runs/agents

A player is uniform, which draws each action; right+jump, which always does that; or the
name or folder of an agent's preset. Each plays the same levels, by default 100 of the
test split, easy and hard, with five seeds. Writes report.json and report.md: percentage
solved, with a 95% interval over the levels. An agent must not have been trained on the
levels; genie-train-agent draws its own from number 200,000 on.
"""

import json

from absl import flags

from genie_tf.experiments import cli
from genie_tf.experiments.cli.players import (
    SCRIPTED_PLAYERS,
    check_players,
    make_player,
)
from genie_tf.files import local_path, replacing_files
from genie_tf.presets.folder import read_config

FLAGS = flags.FLAGS

# Levels are numbered from 0 to this number.
_LAST_LEVEL = 2**31 - 2


def define_flags() -> None:
    flags.DEFINE_list(
        "players",
        None,
        "Players, separated by commas: uniform, right+jump, or presets of agents.",
    )
    flags.DEFINE_string("game", "coinrun", "Name of a Procgen game.")
    flags.DEFINE_list("modes", ["easy", "hard"], "Modes of the game.")
    flags.DEFINE_integer("levels", 100, "Number of levels.", lower_bound=2)
    flags.DEFINE_integer(
        "first_level",
        20_000,
        "Number of the first level.",
        lower_bound=0,
        upper_bound=_LAST_LEVEL,
    )
    flags.DEFINE_integer("seeds", 5, "Number of seeds.", lower_bound=1)
    cli.define_path("output", None, "Output folder for the report.")
    flags.DEFINE_bool("overwrite", False, "Replace the report in the output folder.")


def main() -> None:
    # First check all that does not need Keras, whose import takes seconds.
    with cli.user_errors():
        folder = cli.check_folder(local_path(FLAGS.output))
        if (folder / "report.json").exists() and not FLAGS.overwrite:
            raise ValueError(
                f"{FLAGS.output} already holds a report: choose another folder, or pass "
                "--overwrite."
            )
        if FLAGS.first_level + FLAGS.levels - 1 > _LAST_LEVEL:
            raise ValueError(
                f"The last level has the number {_LAST_LEVEL}; --first_level="
                f"{FLAGS.first_level} and --levels={FLAGS.levels} ask for more."
            )
        if len(set(FLAGS.players)) < len(FLAGS.players):
            raise ValueError("--players names a player twice.")
        check_players(FLAGS.players)
    cli.import_keras()
    from genie_tf.evaluation.played_levels import play_with_seeds

    with cli.user_errors():
        pairs = {
            (name, mode): make_player(name, FLAGS.game, mode)
            for name in FLAGS.players
            for mode in FLAGS.modes
        }
    levels = range(FLAGS.first_level, FLAGS.first_level + FLAGS.levels)
    results = {mode: {} for mode in FLAGS.modes}
    for (name, mode), (policy, settings) in pairs.items():
        played = play_with_seeds(policy, settings, levels, FLAGS.seeds)
        results[mode][name] = played.summary()
        solved = results[mode][name]["solved_percent"]
        print(f"{mode}, {name}: {_show(solved)}% solved.", flush=True)
    report = {
        "game": FLAGS.game,
        "levels": [levels.start, levels.stop],
        "seeds": FLAGS.seeds,
        "presets": {
            name: read_config(name)["sha256"]
            for name in FLAGS.players
            if name not in SCRIPTED_PLAYERS
        },
        "results": results,
    }
    with cli.user_errors(), replacing_files(folder) as partial:
        (partial / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        (partial / "report.md").write_text(_tabulate(report))
    print(f"Wrote report.md and report.json in {folder}.")


def _tabulate(report: dict) -> str:
    """Return a report as Markdown."""
    first, end = report["levels"]
    lines = [
        f"# Players of {report['game']}",
        "",
        f"Levels {first} to {end - 1}, {report['seeds']} seeds of each player. Ranges are "
        "95% intervals over the levels.",
        "",
        "| mode | player | solved, % | return | steps |",
        "|---|---|---|---|---|",
    ]
    for mode, players in report["results"].items():
        for name, scores in players.items():
            shown = (_show(scores[x]) for x in ("solved_percent", "return", "steps"))
            lines.append(f"| {mode} | {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _show(score: dict) -> str:
    return f"{score['mean']:.1f} ({score['low']:.1f} to {score['high']:.1f})"


def run() -> None:
    cli.run(main, define_flags, required=["players", "output"])


if __name__ == "__main__":
    run()
