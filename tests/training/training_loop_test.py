"""The training loop resumes exactly, detects failures and writes curves."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from genie_tf.testing.tiny_models import TinyAutoencoder, tiny_batch
from genie_tf.training.checkpoints import Checkpoints
from genie_tf.training.engine import TensorFlowEngine
from genie_tf.training.optimizers import WarmupDecay, make_optimizer
from genie_tf.training.training_loop import (
    ClipValidation,
    Intervals,
    sigterm_caught,
    train,
)

STEPS = 6


def make_model():
    keras.utils.set_random_seed(0)
    return TinyAutoencoder()


def make_engine():
    return TensorFlowEngine(
        make_model,
        lambda model: make_optimizer(model, WarmupDecay(1e-2, STEPS, 2, 3)),
        clip_norm=1.0,
    )


def make_batches(start):
    for step in range(start, 1_000):
        yield tiny_batch(step)


def batches_with_nan_at(broken):
    """Return a function that yields batches, one of them with NaN pixels."""

    def batches(start):
        for step, batch in enumerate(make_batches(start), start=start):
            video = batch["video"].astype("float32") / 255
            yield {**batch, "video": video * (np.nan if step == broken else 1)}

    return batches


def run(engine, workdir, batches=make_batches, every=None, **changes):
    workdir.mkdir(exist_ok=True)
    checkpoints = Checkpoints(workdir / "checkpoints")
    start, pending = checkpoints.restore(engine.model, engine.optimizer)
    return train(
        engine,
        batches(start),
        lambda step: next(batches(step)),
        checkpoints=checkpoints,
        start=start,
        pending=pending,
        workdir=workdir,
        validate=ClipValidation(engine, [tiny_batch(500), tiny_batch(501)]),
        description="test",
        every=Intervals(**{"log": 2, "evaluate": 5, "checkpoint": 3, **(every or {})}),
        **{"steps": STEPS, **changes},
    )


def latest_step(workdir):
    return Checkpoints(workdir / "checkpoints").latest_step()


def stop_after(steps):
    """Return a function for batches that are interrupted after some steps."""

    def batches(start):
        for step, batch in enumerate(make_batches(start), start=start):
            if step == steps:
                raise KeyboardInterrupt
            yield batch

    return batches


def logged(workdir):
    """Return the lines of metrics.jsonl, without times."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records]


@pytest.fixture(scope="module")
def engine():
    """Engine that is trained without interruption in `workdir`."""
    return make_engine()


@pytest.fixture(scope="module")
def workdir(engine, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("training")
    _, engine.records = run(engine, workdir)
    return workdir


def test_logs_evaluations_and_checkpoints_follow_intervals(engine, workdir):
    records = logged(workdir)
    assert [record["step"] for record in records] == [2, 4, 5, 6]
    evaluated = [r["step"] for r in records if "validation/loss" in r]
    assert evaluated == [5, 6]
    assert latest_step(workdir) == 6
    assert [record["step"] for record in engine.records] == [2, 4, 5, 6]


def test_resumed_run_equals_uninterrupted_run(engine, workdir, tmp_path):
    for stop in (5, 4):  # Twice, in the middle of a log, and after one.
        with pytest.raises(KeyboardInterrupt):
            run(make_engine(), tmp_path, stop_after(stop))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # The rest is lost when a run is killed.
    resumed = make_engine()
    assert latest_step(tmp_path) == 3
    run(resumed, tmp_path)
    check_equal(resumed, tmp_path, engine, workdir)


def check_equal(engine, workdir, other, other_workdir):
    """Check that two runs are equal to the bit."""
    assert logged(workdir) == logged(other_workdir)
    for mine, theirs in (
        (engine.model.weights, other.model.weights),
        (engine.optimizer.variables, other.optimizer.variables),
    ):
        for variable, expected in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(variable, expected, err_msg=variable.path)


def test_sigterm_saves_and_run_resumes(engine, workdir, tmp_path):
    def terminate(start):
        for step, batch in enumerate(make_batches(start), start=start + 1):
            if step == 5:  # In the middle of a log.
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    before = signal.getsignal(signal.SIGTERM)
    changes = {"every": {"evaluate": STEPS, "log": 3}}
    with sigterm_caught() as stop:
        assert run(make_engine(), tmp_path, terminate, stop=stop, **changes)[0] == 5
    assert signal.getsignal(signal.SIGTERM) is before
    assert latest_step(tmp_path) == 5
    resumed = make_engine()
    assert run(resumed, tmp_path, **changes)[0] == 6
    whole = make_engine()
    run(whole, tmp_path / "whole", **changes)
    check_equal(resumed, tmp_path, whole, tmp_path / "whole")


def test_steps_per_call_do_not_change_result(engine, workdir, tmp_path):
    other = make_engine()
    run(other, tmp_path, every={"call": 3, "log": 3, "evaluate": 6})
    assert [record["step"] for record in logged(tmp_path)] == [3, 6]
    for weight, expected in zip(other.model.weights, engine.model.weights, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-5)


def test_finished_run_is_left_unchanged(workdir):
    before = (workdir / "metrics.jsonl").read_text()
    finished = make_engine()
    _, records = run(finished, workdir, stop_after(0))
    assert (workdir / "metrics.jsonl").read_text() == before
    assert records[-1]["step"] == STEPS


def test_loss_that_is_not_finite_stops(tmp_path):
    with pytest.raises(FloatingPointError) as error:
        run(make_engine(), tmp_path, batches_with_nan_at(3))
    path = tmp_path / "not_finite_step_00000004.npz"
    assert str(error.value) == (
        "Not finite at step 4: loss, gradient_norm; the last checkpoint is from step 3, "
        f"and the batch is in {path}."
    )
    with np.load(path) as batch:
        np.testing.assert_array_equal(batch["mask"], tiny_batch(3)["mask"])
        assert np.isnan(batch["video"]).all()
    assert latest_step(tmp_path) == 3
    assert [record["step"] for record in logged(tmp_path)] == [2]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    # Only the checkpoint of step 3 is due, and it would have NaN weights.
    with pytest.raises(FloatingPointError, match="at step 3: .* step 0"):
        run(make_engine(), tmp_path, batches_with_nan_at(2))
    assert latest_step(tmp_path) == 0


def test_event_files_have_curves_and_reconstructions(engine, workdir):
    scalars, images = {}, {}
    for path in (workdir / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField("image"):
                    images[event.step] = value.image.encoded_image_string
                else:
                    scalars[value.tag, event.step] = value.simple_value
    for record in engine.records:
        for name in record.keys() - {"step"}:
            assert scalars[name, record["step"]] == pytest.approx(record[name])
    assert set(images) == {5, 6}
    png = tf.io.decode_png(images[6]).numpy()
    # Four clips, ground truth above reconstruction, four frames side by side.
    assert png.shape == (4 * 2 * 16, 4 * 16, 3)
    truth = tiny_batch(500)["video"] / np.float32(255)
    decoded = np.array(engine.model.reconstruct({"video": truth}))
    for row, video in ((0, truth), (16, decoded), (96, truth[3:]), (112, decoded[3:])):
        expected = 255 * np.concatenate(list(video[0]), axis=1)
        np.testing.assert_allclose(png[row : row + 16], expected, atol=1)


def test_event_files_have_each_step_once_after_kill(tmp_path):
    every = {"log": 1, "evaluate": 2}
    with pytest.raises(KeyboardInterrupt):
        run(make_engine(), tmp_path, stop_after(5), every=every)
    assert latest_step(tmp_path) == 3
    run(make_engine(), tmp_path, every=every)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [point.step for point in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in events.Images("reconstructions")] == [2, 4, 6]
    logs = [r["loss"] for r in logged(tmp_path)]
    assert [x.value for x in events.Scalars("loss")] == pytest.approx(logs)


def test_damaged_log_lines_are_skipped(workdir, tmp_path, caplog):
    shutil.copytree(workdir, tmp_path / "copy")
    path = tmp_path / "copy/metrics.jsonl"
    first, *others = path.read_bytes().splitlines()
    damaged = [
        b"no",
        b"\0" * 99,
        b"\xff",
        b"",
        b"5",
        b"{}",
        b'{"step": "4"}',
        b"[" * 10**5,
    ]
    path.write_bytes(b"\n".join([first, *damaged, *others]) + b"\n")
    _, records = run(make_engine(), tmp_path / "copy")
    assert [record["step"] for record in records] == [2, 4, 5, 6]
    assert records == [json.loads(line) for line in path.open()]
    for number in range(len(damaged)):
        assert f"Line {number + 2} of {path} is damaged and skipped." in caplog.text
