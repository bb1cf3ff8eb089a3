import numpy as np
import pytest

from genie_tf.datasets.procgen.policies import (
    HeldPolicy,
    Policy,
    PolicyError,
    RandomPolicy,
    check_actions,
    make_policy,
)


def decide(policy, num_steps, seeds=(0,)):
    """Return the actions of some levels, without frames: (steps, levels)."""
    rngs = [np.random.default_rng(seed) for seed in seeds]
    policy.start_levels(num_steps, rngs)
    return np.array([policy.act(None, rngs) for _ in range(num_steps)])


def test_random_actions_are_uniform():
    actions = decide(RandomPolicy("coinrun"), 3000, seeds=(1, 2))
    assert np.any(actions[:, 0] != actions[:, 1])
    shares = np.bincount(actions.ravel(), minlength=15) / actions.size
    np.testing.assert_allclose(shares, 1 / 15, atol=0.02)


@pytest.mark.parametrize("game", ["coinrun", "ninja", "plunder"])
def test_held_actions_are_distinct_ones(game):
    distinct = {
        "coinrun": [0, 1, 2, 3, 4, 5, 6, 7, 8],
        "ninja": [1, 2, 4, 5, 7, 8, 9, 10, 11, 12],
        "plunder": [1, 4, 7, 9],
    }[game]
    actions = decide(HeldPolicy(game), 30_000)[:, 0]
    values, counts = np.unique(actions, return_counts=True)
    assert values.tolist() == distinct
    np.testing.assert_allclose(counts / len(actions), 1 / len(distinct), atol=0.03)


def test_actions_are_held_for_requested_time():
    policy = HeldPolicy("coinrun", hold=8)
    assert policy.name == "held_8"
    actions = policy.plan(100_000, np.random.default_rng(3))
    # One of nine draws repeats the action.
    changes = np.count_nonzero(np.diff(actions))
    assert changes == pytest.approx(100_000 / 8 * 8 / 9, rel=0.05)


def test_each_level_draws_how_long_actions_are_held():
    policy = HeldPolicy("coinrun", hold=(1, 16))
    assert policy.name == "held_1_16"
    plans = [policy.plan(2_000, np.random.default_rng(seed)) for seed in range(20)]
    changes = np.array([np.count_nonzero(np.diff(plan)) for plan in plans])
    short = changes > 500
    assert 0 < short.sum() < 20
    # One of nine draws repeats the action.
    np.testing.assert_allclose(changes[short], 2_000 * 8 / 9, rtol=0.1)
    np.testing.assert_allclose(changes[~short], 2_000 / 16 * 8 / 9, rtol=0.4)


@pytest.mark.parametrize("hold", [0, (4, 0)])
def test_actions_must_be_held_for_a_step(hold):
    with pytest.raises(ValueError, match="hold must be at least 1; received 0"):
        HeldPolicy("coinrun", hold=hold)


@pytest.mark.parametrize("policy", [RandomPolicy("ninja"), HeldPolicy("ninja")])
def test_actions_do_not_depend_on_other_levels(policy):
    together = decide(policy, 40, seeds=(5, 6, 7))
    separate = decide(policy, 40, seeds=(6,))
    np.testing.assert_array_equal(together[:, 1:2], separate)


def test_policies_are_created_by_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from genie_tf.datasets.procgen.policies import HeldPolicy\n"
        "def make(game, slowness):\n"
        "    return HeldPolicy(game, 2 * slowness)\n"
        "def forget(game):\n"
        "    pass\n"
    )
    assert make_policy("mine:make", "ninja", {"slowness": 3}).name == "held_6"
    assert make_policy("held", "ninja", {}).name == "held_8"
    for policy, arguments, message in (
        (
            "best",
            {},
            "There is no policy 'best': expected random, held, scripted, agent, or your "
            "own module:factory.",
        ),
        (
            "mine:forgot",
            {},
            "Policy 'mine:forgot' cannot be found: module 'mine' has no",
        ),
        ("yours:make", {}, "Policy 'yours:make' cannot be found: No module named 'you"),
        (":make", {}, "Policy ':make' cannot be found: Empty module name."),
        (
            "held",
            {"hold": 0},
            "cannot be created: hold must be at least 1; received 0.",
        ),
        ("held", {"x": 0}, "Policy 'held' cannot be created: .* argument 'x'"),
        ("mine:forget", {}, "cannot be created: expected a Policy, received NoneType."),
    ):
        with pytest.raises(PolicyError, match=message):
            make_policy(policy, "ninja", arguments)


class AnyPolicy(Policy):
    name = "any"


@pytest.mark.parametrize(
    ("actions", "received"),
    [
        ([0, 15], "15"),
        ([-1, 3], "-1"),
        ([2**40, 3], str(2**40)),
        ([0, 1, 2], "int64 (3,)"),
        (3, "int64 ()"),
        ([[0], [1]], "int64 (2, 1)"),
        ([0.0, 1.0], "float64 (2,)"),
        ([True, False], "bool (2,)"),
        (None, "object ()"),
    ],
)
def test_invalid_actions_are_rejected(actions, received):
    with pytest.raises(PolicyError) as error:
        check_actions(actions, AnyPolicy(), 2)
    assert str(error.value) == (
        "Policy 'any' must return integers (2,) from 0 to 14, one action per level; "
        f"received {received}."
    )


def test_any_integer_type_is_accepted():
    for dtype in (np.uint8, np.int64):
        assert check_actions(np.array([0, 14], dtype), AnyPolicy(), 2) == [0, 14]
