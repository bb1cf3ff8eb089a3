import asyncio

import pytest

from genie_tf.play.work_slots import WorkDropped, WorkSlots


def test_new_work_cancels_oldest():
    async def run():
        slots, ended = WorkSlots(2), []

        async def work(name):
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(name)

        tasks = []
        for name in ("first", "second", "third"):
            tasks.append(asyncio.create_task(slots.run(work(name))))
            await asyncio.sleep(0)
        with pytest.raises(WorkDropped):
            await tasks[0]
        assert ended == ["first"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ended == ["first", "second", "third"]

    asyncio.run(run())


def test_finished_work_frees_its_slot():
    async def run():
        slots = WorkSlots(1)
        return [await slots.run(asyncio.sleep(0, number)) for number in range(3)]

    assert asyncio.run(run()) == [0, 1, 2]


def test_errors_reach_caller():
    async def fail():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(WorkSlots(1).run(fail()))
