"""Rollouts hold what was played, are learned from, and resume exactly."""

import random

import numpy as np
import pytest

from genie_tf.agents import ImpalaAgent
from genie_tf.testing.color_games import COLORS, FRAME_SHAPE, ColorGames
from genie_tf.training.checkpoints import Checkpoints
from genie_tf.training.engine import TensorFlowEngine
from genie_tf.training.optimizers import WarmupDecay, make_optimizer
from genie_tf.training.ppo import PpoModel
from genie_tf.training.procgen_games import ProcgenGames
from genie_tf.training.rollouts import Rollouts, RolloutSettings
from genie_tf.training.training_loop import Intervals, train

SETTINGS = RolloutSettings(length=16, epochs=2, minibatches=4)
STEPS = SETTINGS.epochs * SETTINGS.minibatches


def make_agent():
    random.seed(0)
    return ImpalaAgent("colors", COLORS, FRAME_SHAPE, channels=(4,), dim=16)


@pytest.fixture(scope="module")
def engine():
    """Engine that all runs share, so that it is compiled once."""
    schedule = WarmupDecay(5e-3, steps=1, warmup_steps=0)
    return TensorFlowEngine(
        lambda: PpoModel(make_agent()),
        lambda model: make_optimizer(
            model, schedule, weight_decay=0.0, beta_2=0.999, epsilon=1e-5
        ),
        clip_norm=0.5,
    )


@pytest.fixture(scope="module")
def start(engine):
    """Variables of the untrained agent and its optimizer."""
    return read_variables(engine)


def read_variables(engine):
    return [np.array(x) for x in (*engine.model.weights, *engine.optimizer.variables)]


def run(workdir, rollouts: int, engine, start):
    """Train for a number of rollouts in all, in a new process as far as that matters."""
    variables = (*engine.model.weights, *engine.optimizer.variables)
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    source = Rollouts(engine.model.agent, ColorGames(16), SETTINGS)
    workdir.mkdir(exist_ok=True)
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.source = source
    step, pending = checkpoints.restore(engine.model, engine.optimizer)
    _, records = train(
        engine,
        source.batches(step),
        source.batch_at,
        checkpoints=checkpoints,
        start=step,
        pending=pending,
        steps=rollouts * STEPS,
        workdir=workdir,
        every=Intervals(STEPS, 100 * STEPS, STEPS),
        validate=lambda: ({}, None),
        description="test",
    )
    return [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records]


def test_agent_learns_and_resumed_run_is_exact(engine, start, tmp_path):
    records = run(tmp_path / "whole", 12, engine, start)
    expected = read_variables(engine)
    # Four steps per episode: one in three is right by chance.
    assert records[0]["episode_return"] < 2
    assert records[-1]["episode_return"] > 3.8
    assert records[-1]["episode_length"] == 4
    logits, _ = engine.model.agent(ColorGames(3).observe()[1])
    assert np.argmax(logits, axis=-1).tolist() == [0, 1, 2]
    for rollouts in (3, 7, 12):
        resumed = run(tmp_path / "parts", rollouts, engine, start)
    assert resumed == records
    for ours, theirs in zip(read_variables(engine), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_other_number_of_games_is_rejected(engine, start, tmp_path):
    run(tmp_path / "run", 1, engine, start)
    checkpoints = Checkpoints(tmp_path / "run/checkpoints")
    checkpoints.source = Rollouts(engine.model.agent, ColorGames(8), SETTINGS)
    with pytest.raises(ValueError) as error:
        checkpoints.restore(engine.model, engine.optimizer)
    assert str(error.value).startswith(
        "The checkpoint is of 16 games played at once, where the config asks for 8:"
    )


def test_each_epoch_has_all_steps_once():
    games, agent = ColorGames(4), make_agent()
    # All colors are played, so steps of one color are told apart by their log_probs.
    source = Rollouts(agent, games, SETTINGS)
    iterator = source.batches()
    batches = []
    for _ in range(STEPS):
        assert len(batches) == 0 or not source.is_between
        batches.append(next(iterator))
    assert source.is_between
    for name in ("returns", "log_probs", "values"):
        first, second = (
            np.sort(np.concatenate([b[name] for b in batches[i : i + 4]]))
            for i in (0, 4)
        )
        np.testing.assert_array_equal(first, second)
        assert len(first) == SETTINGS.length * games.num_games
    assert not np.array_equal(batches[0]["log_probs"], batches[4]["log_probs"])
    for batch in batches:
        np.testing.assert_allclose(batch["advantages"].mean(), 0, atol=1e-6)
        np.testing.assert_allclose(batch["advantages"].std(), 1, rtol=1e-5)
    again = source.batch_at(5)
    for name, array in batches[5].items():
        np.testing.assert_array_equal(again[name], array)
    iterator.close()
    assert games.is_closed


def test_batches_describe_frames_and_actions():
    agent = make_agent()
    batch = next(Rollouts(agent, ColorGames(4), SETTINGS).batches())
    logits, values = (np.asarray(x) for x in agent(batch["frames"]))
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_probs, batch["actions"][:, None], axis=1)[:, 0]
    np.testing.assert_allclose(batch["log_probs"], chosen, rtol=1e-4)
    np.testing.assert_allclose(batch["values"], values, rtol=1e-3, atol=1e-5)


def play(games, actions):
    seen = []
    for action in actions:
        games.act(action)
        seen.append(games.observe())
    return seen


def test_procgen_games_continue_from_their_state():
    def make():
        return ProcgenGames("coinrun", "easy", 3, 200_000, 0, seed=5)

    rng = np.random.default_rng(0)
    actions = rng.integers(15, size=(600, 3))
    games, others = make(), make()
    play(games, actions[:100])
    state = games.state()
    expected = play(games, actions[100:])
    assert any(first.any() for _, _, first in expected)  # Levels are drawn again.
    others.restore(state)
    for ours, theirs in zip(play(others, actions[100:]), expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    games.close(), others.close()


def test_procgen_games_take_chosen_actions_of_a_range_of_levels():
    games = ProcgenGames("coinrun", "easy", 2, 7, 1, action_names=("none", "right"))
    same = ProcgenGames("coinrun", "easy", 2, 7, 1)
    ours = play(games, np.array([[0, 1]] * 5))
    theirs = play(same, np.array([[4, 7]] * 5))
    np.testing.assert_array_equal(ours[-1][1], theirs[-1][1])
    # One level: both games began equally, and only the second one moved.
    assert not np.array_equal(*ours[-1][1])
    games.close(), same.close()


def test_velocity_is_painted():
    plain, painted = (
        ProcgenGames("coinrun", "easy", 1, 7, 1, paint_velocity=paint).observe()[1]
        for paint in (False, True)
    )
    assert not np.array_equal(plain, painted)
