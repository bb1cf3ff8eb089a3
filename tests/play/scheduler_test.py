"""Tests of the scheduler, with a clock that the tests advance."""

import asyncio

import pytest

from genie_tf.play.scheduler import Scheduler, Share


class World:
    """Scheduler whose work only advances the clock."""

    def __init__(self):
        self.time = 0.0
        self.took: list[str] = []
        self.scheduler = Scheduler(lambda: self.time)

    def work(self, name: str, seconds: float):
        self.took.append(name)
        self.time += seconds

    async def play(self, name: str, seconds: float, turns: int = 1000, cost: float = 1):
        share = Share(self.scheduler)
        for _ in range(turns):
            await share.run(self.work, name, seconds, cost=cost)

    def seconds(self, name: str, each: float) -> float:
        return self.took.count(name) * each


async def until(world: World, seconds: float, *players):
    tasks = [asyncio.create_task(player) for player in players]
    while world.time < seconds:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()


def test_time_is_shared_not_turns():
    world = World()
    many = [world.play(f"slow {index}", 0.5) for index in range(7)]
    asyncio.run(until(world, 80, world.play("quick", 0.1), *many))
    assert world.seconds("quick", 0.1) == pytest.approx(10, abs=1)
    assert world.seconds("slow 3", 0.5) == pytest.approx(10, abs=1)


def test_quick_player_does_not_wait_for_all_slow_ones():
    world = World()
    many = [world.play(f"slow {index}", 0.5) for index in range(7)]
    asyncio.run(until(world, 80, world.play("quick", 0.1), *many))
    turns = [index for index, name in enumerate(world.took) if name == "quick"]
    gaps = [after - before for before, after in zip(turns[5:], turns[6:], strict=False)]
    assert max(gaps) <= 5


def test_higher_cost_gets_less_time():
    world = World()
    many = [world.play(f"preview {index}", 0.1, cost=4) for index in range(7)]
    asyncio.run(until(world, 55, world.play("player", 0.1), *many))
    # 4 of 11 shares.
    assert world.seconds("player", 0.1) == pytest.approx(20, rel=0.1)


def test_new_player_starts_level_with_others():
    world = World()

    async def run():
        old = asyncio.create_task(world.play("old", 1))
        while world.time < 100:
            await asyncio.sleep(0)
        world.took.clear()
        await until(world, 120, world.play("new", 1))
        old.cancel()

    asyncio.run(run())
    assert world.took.count("new") == pytest.approx(10, abs=1)
    assert world.took.index("new") <= 2


def test_idle_player_saves_up_no_time():
    world = World()

    async def run():
        share = Share(world.scheduler)
        await share.run(world.work, "idle", 1)
        await until(world, 100, world.play("other", 1))
        other = asyncio.create_task(world.play("other", 1))
        await asyncio.sleep(0)
        world.took.clear()
        for _ in range(10):
            await share.run(world.work, "idle", 1)
        other.cancel()

    asyncio.run(run())
    assert world.took.count("other") >= 8


def test_canceled_work_is_not_run():
    world = World()

    async def run():
        staying = [asyncio.create_task(world.play("first", 1, turns=1))]
        leaving = [
            asyncio.create_task(world.play("left", 1, turns=1)) for _ in range(5)
        ]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        staying.append(asyncio.create_task(world.play("last", 1, turns=1)))
        await asyncio.gather(*staying)

    asyncio.run(run())
    assert world.took == ["first", "last"]


def test_errors_reach_caller_and_end_nothing_else():
    def fail():
        raise RuntimeError("a bug")

    async def run():
        share = Share(world.scheduler)
        with pytest.raises(RuntimeError, match="a bug"):
            await share.run(fail)
        return await share.run(lambda: 3)

    world = World()
    assert asyncio.run(run()) == 3
