"""Train an agent to play a Procgen game, by proximal policy optimization (PPO).

genie-train-agent --config=coinrun_agent:full --workdir=runs/agent

Every setting of the config has a flag: --config.frames=3_000_000 --config.seed=1. Plays
many games at once, learns from each rollout, and plays levels that it has not seen to
evaluate itself. Writes checkpoints, metrics.jsonl, TensorBoard event files and, at the
end, the agent to the folder WORKDIR/model. If a run is killed, rerun the same command: it
resumes from the last checkpoint. genie-evaluate-agent measures the agent, genie-watch
shows it.
"""

import shlex
import sys
import time

from absl import flags
from ml_collections import ConfigDict

from genie_tf.experiments import cli
from genie_tf.experiments.cli.settings import check_settings
from genie_tf.experiments.cli.training_run import (
    TrainingData,
    check_workdir,
    open_checkpoints,
    run_training,
)

FLAGS = flags.FLAGS

# First level of the validation splits of all datasets.
_FIRST_LEVEL = 10_000


def define_flags() -> None:
    cli.define_config(
        "config",
        "Training config: NAME:SIZE of a shipped one, or FILE.py:SIZE.",
    )
    cli.define_path("workdir", None, "Folder for checkpoints, metrics and the agent.")
    flags.DEFINE_bool(
        "allow_change",
        False,
        "Resume even if settings have changed, and record the change.",
    )


def train_agent(
    config: ConfigDict, workdir: str, command: str = "", allow_change: bool = False
) -> None:
    """Train the agent of a config, on one device.

    Args:
        config: settings, as in `experiments/configs/coinrun_agent.py`.
        workdir: folder for checkpoints, metrics and the agent.
        command: command line, stored with the agent.
        allow_change: whether to resume even if settings have changed.

    Raises:
        UserError: if config, checkpoint or workdir are unsuitable, or another program
            trains in the workdir.
    """
    # Imported here so that --help and invalid flags are fast.
    import keras

    from genie_tf.evaluation.played_levels import check_agent
    from genie_tf.training.build import make_engine
    from genie_tf.training.procgen_games import ProcgenGames
    from genie_tf.training.rollouts import Rollouts, RolloutSettings

    with cli.user_errors():
        if config.get("stage") != "agent":
            raise ValueError(
                f"config.stage must be agent; is {config.get('stage')!r}: train other "
                "stages with genie-train."
            )
        check_settings(config)
        folder = check_workdir(workdir)
        keras.config.set_dtype_policy(config.precision)
        checkpoints = open_checkpoints(config, folder)
        resumes = checkpoints.latest_step() > 0
        strategy = "one" if keras.config.backend() == "tensorflow" else "auto"
        engine = make_engine(config, strategy, resumes=resumes)
        agent = engine.model.agent
        settings = check_agent(agent, config.games.mode)
        games = ProcgenGames(
            agent.game,
            action_names=agent.action_names,
            paint_velocity=agent.paint_velocity,
            seed=config.seed,
            **config.games,
        )
        rollouts = Rollouts(
            agent, games, RolloutSettings(**config.rollouts), config.seed
        )
        checkpoints.source = rollouts
    data = TrainingData(
        {},
        rollouts.batches,
        rollouts.batch_at,
        lambda: (_evaluate(agent, settings, config.validation_levels), None),
        lambda: rollouts.is_between,
    )

    def save_model(scores: dict, phases: list[dict], steps: int) -> None:
        agent.save_to_preset(
            folder / "model",
            scores=scores,
            action_names=agent.action_names,
            **_describe(agent, phases, steps, rollouts.count_frames(steps)),
        )

    start = time.perf_counter()
    run_training(
        config, folder, engine, checkpoints, data, save_model, command, allow_change
    )
    _print_speed(rollouts, time.perf_counter() - start)


def _evaluate(agent, settings, num_levels: int) -> dict[str, float]:
    """Return how an agent plays levels of the validation split, once each."""
    from genie_tf.datasets.procgen.agent_policy import AgentPolicy
    from genie_tf.evaluation.played_levels import play_with_seeds

    levels = range(_FIRST_LEVEL, _FIRST_LEVEL + num_levels)
    played = play_with_seeds(AgentPolicy(agent), settings, levels, num_seeds=1)
    return {
        "solved": float(played.solved.mean()),
        "return": float(played.returns.mean()),
        "steps": float(played.lengths.mean()),
    }


def _describe(agent, phases: list[dict], steps: int, num_frames: int) -> dict:
    """Return the description of the training run that `save_preset` stores."""
    from genie_tf.training.history import describe_phases

    settings = phases[-1]["settings"]
    if len(phases) > 1:
        settings = {**settings, "phases": describe_phases(phases, steps)}
    mode = phases[-1]["settings"]["games"]["mode"]
    return {
        "description": (
            f"{type(agent).__name__} trained by PPO on {num_frames:,} frames of "
            f"{agent.game}, {mode} levels."
        ),
        "dataset": f"levels of {agent.game} ({mode}), drawn while playing",
        "command": "\n".join(x["command"] for x in phases if x["command"]),
        "settings": settings,
    }


def _print_speed(rollouts, seconds: float) -> None:
    """Print how many frames were played per second, and what took the time."""
    if rollouts.num_frames:
        shares = {k: f"{x / seconds:.0%}" for k, x in rollouts.seconds.items()}
        print(
            f"{rollouts.num_frames / seconds:.0f} frames per second; {shares['games']} of "
            f"the time in the game, {shares['actions']} to choose actions, the rest to "
            "learn and to evaluate."
        )


def main() -> None:
    cli.import_keras()
    train_agent(
        FLAGS.config,
        FLAGS.workdir,
        shlex.join(["genie-train-agent", *sys.argv[1:]]),
        FLAGS.allow_change,
    )


def run() -> None:
    cli.run(main, define_flags, required=["config", "workdir"])


if __name__ == "__main__":
    run()
