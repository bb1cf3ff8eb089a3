import pytest

from genie_tf.play.timeline import Timeline
from genie_tf.testing.toy_simulator import ToySimulator

PROMPT = bytes(ToySimulator.num_bytes)
LEFT, RIGHT, UP, DOWN = range(4)


def make_timeline(max_moments=100, max_branches=2, max_states=30) -> Timeline:
    limits = max_moments, max_branches, max_states * 1_000, 1_000
    return Timeline(ToySimulator(), (PROMPT, None), *limits)


def play(timeline: Timeline, *actions) -> list[bytes]:
    while not timeline.recall():
        pass
    return [timeline.advance(action, {}).frame for action in actions]


def test_same_actions_after_rewind_make_same_frames():
    timeline = make_timeline()
    actions = [RIGHT, UP, UP, LEFT] * 5
    frames = play(timeline, *actions)
    for number in (13, 0, 7):
        timeline.go_to(number)
        frame = timeline.present.frame
        assert number == 0 or frame == frames[number - 1]
        assert play(timeline, *actions[number:]) == frames[number:]


def test_acting_in_past_keeps_old_line():
    timeline = make_timeline()
    play(timeline, RIGHT, RIGHT, RIGHT)
    end = timeline.present.frame
    timeline.go_to(1)
    play(timeline, UP)
    assert [moment.action for moment in timeline.line.moments] == [None, RIGHT, UP]
    ((left),) = timeline.branches
    assert left.last == 3
    other = timeline.present.frame
    timeline.switch(left.id)
    assert (timeline.number, timeline.present.frame) == (3, end)
    assert play(timeline, DOWN) != play(timeline, DOWN)
    timeline.switch(timeline.branches[0].id)
    assert timeline.present.frame == other


def test_acting_at_end_makes_no_branch():
    timeline = make_timeline()
    play(timeline, RIGHT, RIGHT)
    timeline.go_to(0)
    timeline.go_to(2)
    play(timeline, RIGHT)
    assert not timeline.branches


def test_memory_is_bounded():
    timeline = make_timeline(max_moments=20, max_branches=2, max_states=12)
    for _ in range(10):
        play(timeline, *[RIGHT] * 30)
        timeline.go_to(timeline.line.first + 5)
        play(timeline, UP)
    lines = [timeline.line, *timeline.branches]
    assert len(timeline.branches) == 2
    # The stride is 5 moments: one state per stride, and a line exceeds 20 by at most 5.
    assert all(len(line.moments) <= 25 for line in lines)
    states = {id(m.state) for line in lines for m in line.moments if m.state}
    assert len(states) <= 12 + 3
    assert all(line.moments[0].state and line.first % 5 == 0 for line in lines)


def test_every_kept_moment_can_be_recalled():
    timeline = make_timeline(max_moments=20, max_branches=1, max_states=6)
    frames = [timeline.present.frame, *play(timeline, *[RIGHT, UP, UP] * 20)]
    for number in range(timeline.line.first, timeline.line.last + 1):
        timeline.go_to(number)
        assert timeline.present.frame == frames[number]
        while not timeline.recall():
            pass
        assert ToySimulator()._frame(**timeline.state) == frames[number]


@pytest.mark.parametrize("number", [-1, 4])
def test_missing_moment_is_rejected(number):
    timeline = make_timeline()
    play(timeline, RIGHT, RIGHT, RIGHT)
    with pytest.raises(ValueError) as error:
        timeline.go_to(number)
    assert str(error.value) == f"The moments kept are 0 to 3; received {number}."


def test_missing_branch_is_rejected():
    timeline = make_timeline()
    with pytest.raises(ValueError) as error:
        timeline.switch(3)
    assert str(error.value) == "The branches kept are none; received 3."
