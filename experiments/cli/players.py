"""Players of a game, named by flags: scripted ones, and presets of agents."""

from collections.abc import Sequence

from genie_tf.presets.folder import find_preset, read_config

# Names of scripted players, with the action that they always take, if any.
SCRIPTED_PLAYERS = {"uniform": None, "right+jump": "right+up"}


def check_players(names: Sequence[str]) -> None:
    """Check that players exist, without importing Keras.

    Raises:
        ValueError: if one does not exist, or is a preset of another model.
    """
    for name in names:
        if name in SCRIPTED_PLAYERS:
            continue
        try:
            find_preset(name)
        except ValueError as error:
            raise ValueError(
                f"There is no player {name!r}: expected {', '.join(SCRIPTED_PLAYERS)}, or "
                "the folder of an agent."
            ) from error
        config = read_config(name)
        if "agent" not in config["parts"]:
            raise ValueError(
                f"Expected {name} to hold an agent; its config.json describes a "
                f"{config['class_name']}."
            )


def make_player(name: str, game: str, mode: str) -> tuple:
    """Return the `Policy` of a player, and the `Settings` of the levels that it plays.

    Args:
        name: a name that `check_players` accepts.
        game, mode: game to play, and its mode.

    Raises:
        ValueError: if the game or mode does not exist, the agent can't be loaded, or it
            plays another game.
    """
    from genie_tf.datasets.procgen.environment import ACTION_NAMES, check_game
    from genie_tf.datasets.procgen.levels import Settings
    from genie_tf.datasets.procgen.policies import RandomPolicy
    from genie_tf.evaluation.played_levels import ConstantPolicy

    check_game(game, mode)
    if name in SCRIPTED_PLAYERS:
        action = SCRIPTED_PLAYERS[name]
        policy = (
            ConstantPolicy(ACTION_NAMES.index(action)) if action else RandomPolicy(game)
        )
        return policy, Settings(game, mode, 1)
    from genie_tf.agents import Agent
    from genie_tf.datasets.procgen.agent_policy import AgentPolicy
    from genie_tf.evaluation.played_levels import check_agent
    from genie_tf.presets.loading import load_preset

    agent = load_preset(name, Agent)
    if agent.game != game:
        raise ValueError(f"The agent {name} plays {agent.game}, not {game}.")
    return AgentPolicy(agent), check_agent(agent, mode)
