"""All scores equal those computed here from models and clips.

TensorFlow accepts virtual CPUs only before it starts, so this file is also a program,
which evaluates on two of them.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from keras import tree
from scipy import stats
from skimage.metrics import structural_similarity
from sklearn.metrics import normalized_mutual_info_score

from genie_tf.datasets.procgen.environment import GAMES
from genie_tf.evaluation import check_batch, evaluate, hold_actions
from genie_tf.metrics.controllability import delta_psnr
from genie_tf.models import Genie, GuidedGenie
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import (
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
)
from genie_tf.training.strategies import make_strategy

CLIPS, FRAMES = 5, 13
SAMPLING = {"num_steps": 1}


def batches(frames=FRAMES):
    """Yield batches of two clips; the sixth clip is one too many."""
    for step in range(4):
        yield tiny_batch(step, batch=2, time=frames)


def take(name):
    return np.concatenate([batch[name] for batch in batches()])[:CLIPS]


@pytest.fixture(scope="module", autouse=True)
def without_compilation():
    """Eager mode, because compiling would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def make_genie():
    genie = tiny_genie()
    # Train the codebooks, so that tokens and actions vary.
    for part in (genie.tokenizer, genie.latent_action_model):
        part.update_codebooks(part.losses_and_metrics(tiny_batch(9))[1])
    return genie


@pytest.fixture(scope="module")
def genie():
    return make_genie()


def print_scores_on_two_replicas():
    """Print scores of a Genie, and compiled scores of its tokenizer."""
    strategy = make_strategy("mirrored", virtual_devices=2)
    with strategy.scope():
        genie = tiny_genie()
    for ours, theirs in zip(genie.weights, make_genie().weights, strict=True):
        ours.assign(theirs)
    given = {"sampling": SAMPLING, "strategy": strategy}
    scores = {"tokenizer": evaluate(genie.tokenizer, batches(5), CLIPS, **given)[0]}
    tf.config.run_functions_eagerly(True)
    scores["genie"] = evaluate(genie, batches(5), CLIPS, **given)[0]
    print(json.dumps([strategy.num_replicas_in_sync, scores]))


@pytest.fixture(scope="module")
def guided(genie):
    """Guided Genie with the 15 actions of the clips."""
    parts = tiny_genie()
    dynamics = type(parts.dynamics)(**{**parts.dynamics.arguments(), "action_dim": 15})
    return GuidedGenie(genie.tokenizer, dynamics)


@pytest.fixture(scope="module")
def evaluated(genie):
    return evaluate(
        genie,
        batches(),
        CLIPS,
        sampling=SAMPLING,
        group_actions=GAMES["coinrun"].actions.group,
    )


@pytest.fixture
def scores(evaluated):
    return evaluated[0]


@pytest.fixture
def videos(evaluated):
    return evaluated[1]


def to_float(video):
    return video / 255 if video.dtype == "uint8" else np.clip(video, 0, 1)


def psnr(target, prediction):
    """Return the PSNR of each frame, (clips, time)."""
    error = (to_float(target) - to_float(prediction)).astype("float64")
    return -10 * np.log10(np.mean(error**2, axis=(2, 3, 4)))


def ssim(target, prediction):
    """Return the SSIM of each frame, (clips, time)."""
    frames = (to_float(x).reshape(-1, 16, 16, 3) for x in (target, prediction))
    values = [
        structural_similarity(
            x.astype("float64"),
            y.astype("float64"),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        for x, y in zip(*frames, strict=True)
    ]
    return np.reshape(values, target.shape[:2])


def mean(values, tolerance=1e-5):
    """Return the mean over clips with Student's interval."""
    center = np.mean(values)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return {
        "mean": pytest.approx(center, rel=1e-5, abs=tolerance),
        "ci95": pytest.approx((center - half, center + half), abs=10 * tolerance),
    }


class Estimate(dict):
    """A value that is not a mean, with any interval around it."""

    def __init__(self, value):
        super().__init__(value=pytest.approx(value, rel=1e-5))

    def __eq__(self, other):
        low, high = other["ci95"]
        return self["value"] == other["value"] and low <= other["value"] <= high


def psnr_forms(target, prediction, ceiling=None):
    frames = psnr(target, prediction)
    forms = {
        "psnr_of_mean_error": Estimate(-10 * np.log10(np.mean(10 ** (-frames / 10)))),
        "psnr_median": Estimate(np.median(frames)),
    }
    if ceiling is not None:
        capped = np.minimum(frames, psnr(target, ceiling))
        forms["psnr_capped"] = mean(capped.mean(axis=1))
    return forms


def quality(target, prediction, ceiling=None):
    return {
        **psnr_forms(target, prediction, ceiling),
        "ssim": mean(ssim(target, prediction).mean(axis=1)),
    }


def repeat_quality(video, reconstruction):
    future, ceiling = video[:, 1:], reconstruction[:, 1:]
    return {
        "repeat": quality(future, video[:, :-1], ceiling),
        "repeat_reconstruction": quality(future, reconstruction[:, :-1], ceiling),
    }


def usage(codes, size):
    counts = np.bincount(np.ravel(codes), minlength=size)
    return {
        "codes_used": np.count_nonzero(counts),
        "usage": np.count_nonzero(counts) / size,
        "perplexity": pytest.approx(np.exp(stats.entropy(counts)), rel=1e-5),
        "entropy": pytest.approx(stats.entropy(counts) / np.log(size), rel=1e-5),
        "counts": counts.tolist(),
    }


def tokenizer_scores(tokenizer):
    video = take("video")
    outputs = tokenizer(video)
    made = np.array(outputs["reconstruction"])
    return {
        "videos": {
            "reconstruction": quality(video, made, made),
            **repeat_quality(video, made),
        },
        **usage(outputs["indices"], 24),
    }


def test_requested_number_of_clips_is_evaluated(scores, videos):
    assert (scores["clips"], scores["frames"]) == (CLIPS, FRAMES)
    np.testing.assert_array_equal(videos["truth"], take("video"))
    assert videos["reconstruction"].shape == (CLIPS, FRAMES, 16, 16, 3)
    assert videos["prediction"].shape == (CLIPS, 11, 16, 16, 3)


def test_tokenizer(scores, genie):
    assert scores["tokenizer"] == tokenizer_scores(genie.tokenizer)
    assert scores["tokenizer"]["codes_used"] > 2


def test_tokenizer_by_itself(genie):
    scores, videos = evaluate(genie.tokenizer, batches(), CLIPS)
    assert set(scores) == {"clips", "frames", "tokenizer"}
    assert scores["tokenizer"] == tokenizer_scores(genie.tokenizer)
    assert set(videos) == {"truth", "reconstruction"}


def test_latent_actions(scores, genie):
    video = take("video")
    outputs = genie.latent_action_model(video)
    reconstruction = np.array(genie.tokenizer(video)["reconstruction"])
    future, ceiling = video[:, 1:], reconstruction[:, 1:]
    actual = dict(scores["latent_actions"])
    agreement = actual.pop("agreement")
    assert actual == {
        "videos": {
            "prediction": quality(future, np.array(outputs["prediction"]), ceiling),
            **repeat_quality(video, reconstruction),
            "ceiling": quality(future, ceiling, ceiling),
        },
        **usage(outputs["indices"], 5),
    }
    assert actual["codes_used"] > 2
    # CoinRun's actions 9 to 14 do nothing, like action 4.
    true = np.where(take("action") > 8, 4, take("action"))
    latent = np.array(outputs["indices"])
    nmi = normalized_mutual_info_score(true.ravel(), latent.ravel())
    assert agreement["nmi"]["value"] == pytest.approx(nmi)
    assert agreement["true_actions"] == np.unique(true).tolist()
    assert np.sum(agreement["confusion"]) == CLIPS * (FRAMES - 1)


def test_latent_actions_by_themselves(genie, scores):
    alone, videos = evaluate(
        genie.latent_action_model,
        batches(),
        CLIPS,
        group_actions=GAMES["coinrun"].actions.group,
    )
    assert set(alone) == {"clips", "frames", "latent_actions"}
    expected = dict(scores["latent_actions"])
    actual = dict(alone["latent_actions"])
    for name, row in actual.pop("videos").items():
        # Without a tokenizer there is no cap.
        assert set(row) == {"psnr_of_mean_error", "psnr_median", "ssim"}
        for score, value in row.items():
            within = expected["videos"][name][score]
            assert value["ci95"] == pytest.approx(within["ci95"], 1e-4, 1e-5)
    del expected["videos"]
    assert actual == expected
    assert videos["next_frames"].shape == (CLIPS, FRAMES - 1, 16, 16, 3)


def test_dynamics_predicts_ten_frames(scores, videos):
    truth, ceiling = videos["truth"][:, 1:11], videos["reconstruction"][:, 1:11]
    rows = {
        "prediction": videos["prediction"][:, 1:],
        "repeat_prompt": np.repeat(videos["truth"][:, :1], 10, axis=1),
        "repeat_reconstruction": np.repeat(videos["reconstruction"][:, :1], 10, axis=1),
        "ceiling": ceiling,
    }
    actual = scores["dynamics"]
    assert (actual["prompt_frames"], actual["predicted_frames"]) == (1, 10)
    assert actual["videos"] == {
        name: quality(truth, video, ceiling) for name, video in rows.items()
    }
    for name, video in rows.items():
        one = [slice(i, i + 1) for i in range(10)]
        assert actual["horizons"][name] == [
            psnr_forms(truth[:, i], video[:, i], ceiling[:, i]) for i in one
        ]


def test_still_frames_are_capped_at_their_reconstruction(genie):
    """Repeating a still frame is exact: 100 dB, which would hide all else in a mean."""
    batch = tiny_batch(0, batch=2, time=5)
    batch["video"] = np.repeat(batch["video"][:, :1], 5, axis=1)
    scores, _ = evaluate(genie, iter([batch]), 2, sampling=SAMPLING)
    rows = scores["dynamics"]["videos"]
    assert rows["repeat_prompt"]["psnr_capped"] == rows["ceiling"]["psnr_capped"]
    assert rows["repeat_prompt"]["psnr_median"]["value"] == pytest.approx(100)


def test_delta_psnr(genie, scores, videos):
    """It equals the score of both rollouts, generated here frame by frame."""
    rollout = WorldSampler(genie)
    changes, predictions = [], []
    for index, batch in enumerate(batches()):
        rng = np.random.default_rng((0, index))
        seed = int(rng.integers(2**31, size=(), dtype="int32"))
        random = rng.integers(5, size=(2, 4), dtype="int32")
        video = batch["video"]  # The draws of later frames come after these.
        actions = genie.latent_action_model.infer_actions(video)[:, :10]
        inferred = rollout.generate(video[:, :1], actions, seed, SAMPLING)
        drawn = rollout.generate(video[:, :1], random, seed, SAMPLING)
        predictions.append(np.array(inferred))
        changes.append(
            delta_psnr(
                video[:, 1:5], np.array(inferred)[:, 1:5], np.array(drawn)[:, 1:]
            )
        )
    np.testing.assert_allclose(
        videos["prediction"], np.concatenate(predictions)[:CLIPS], atol=1e-5
    )
    changes = np.concatenate(changes)[:CLIPS]
    assert scores["dynamics"]["delta_psnr_4"] == mean(changes, 1e-4)
    assert scores["dynamics"]["delta_psnr"]["random_actions"][3] == mean(changes, 1e-4)
    assert len(scores["dynamics"]["delta_psnr"]["random_actions"]) == 10
    assert np.abs(changes).max() > 0.01


def test_masked_tokens(scores, genie):
    outputs = genie.compute_outputs({"video": take("video"), "mask": take("mask")})
    tokens, mask = np.array(outputs["tokens"]), take("mask")
    order = np.argsort(-np.array(outputs["logits"]), axis=-1)
    for k in (1, 2, 5, 16):
        hits = (order[..., :k] == tokens[..., None]).any(axis=-1)
        clips = [hit[m].mean() for hit, m in zip(hits, mask, strict=True)]
        assert scores["dynamics"][f"top{k}"] == mean(clips)
    assert scores["dynamics"]["cross_entropy"]["mean"] > 0


def test_short_clips_are_predicted_to_their_end(genie):
    scores, videos = evaluate(genie, batches(5), 2, sampling=SAMPLING)
    assert scores["dynamics"]["predicted_frames"] == 4
    assert videos["prediction"].shape[1] == 5


def test_seed_determines_scores(genie):
    first, again, other = (
        evaluate(genie, batches(5), 4, sampling=SAMPLING, seed=seed)[0]
        for seed in (3, 3, 4)
    )
    assert again == first
    assert other["dynamics"]["videos"] != first["dynamics"]["videos"]
    assert other["tokenizer"] == first["tokenizer"]


def test_two_replicas_equal_one(genie):
    program = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    assert program.returncode == 0, program.stderr
    replicas, actual = json.loads(program.stdout.splitlines()[-1])
    assert replicas == 2
    for name, model in (("tokenizer", genie.tokenizer), ("genie", genie)):
        expected, _ = evaluate(model, batches(5), CLIPS, sampling=SAMPLING)
        actual_leaves, leaves = tree.flatten(actual[name]), tree.flatten(expected)
        assert len(actual_leaves) == len(leaves)
        for one, other in zip(actual_leaves, leaves, strict=True):
            if other is not None:  # "assigned" of a group can be None.
                other = pytest.approx(other, rel=1e-5, abs=1e-5)
            assert one == other


def test_scores_are_json(scores):
    assert json.loads(json.dumps(scores)) == scores


def test_actions_of_other_games_are_not_grouped(genie):
    def twenty_actions():
        for batch in batches():
            yield {**batch, "action": batch["action"] + 5}

    scores, _ = evaluate(genie.latent_action_model, twenty_actions(), CLIPS)
    actual = scores["latent_actions"]["agreement"]["true_actions"]
    assert actual == (np.unique(take("action")) + 5).tolist()


def test_agreement_needs_true_actions(genie):
    def without_actions():
        for batch in batches():
            del batch["action"]
            yield batch

    scores, _ = evaluate(genie.latent_action_model, without_actions(), 2)
    assert "agreement" not in scores["latent_actions"]


def test_latent_actions_from_tokens_have_no_pixel_scores(genie):
    of_tokens = tiny_latent_action_model(
        frame_shape=genie.tokenizer.grid_shape, patch_size=1
    )
    other = Genie(genie.tokenizer, of_tokens, genie.dynamics)
    scores, _ = evaluate(other, batches(5), 2, sampling=SAMPLING)
    assert "videos" not in scores["latent_actions"]
    assert scores["latent_actions"]["agreement"]


def test_guided_genie_has_no_latent_actions(guided):
    scores, videos = evaluate(guided, batches(5), 2, sampling=SAMPLING)
    assert set(scores) == {"clips", "frames", "tokenizer", "dynamics"}
    rng = np.random.default_rng((0, 0))
    seed = int(rng.integers(2**31, size=(), dtype="int32"))
    rollout, batch = WorldSampler(guided), next(batches(5))
    played = rollout.generate(batch["video"][:, :1], batch["action"], seed, SAMPLING)
    np.testing.assert_allclose(videos["prediction"], played, atol=1e-5)


def test_unsuitable_batches_are_rejected(genie, guided):
    batch = next(batches(4))
    with pytest.raises(ValueError, match="at least 5 frames; received 4"):
        check_batch(genie.tokenizer, batch)
    batch = next(batches())
    with pytest.raises(ValueError, match="has 15 actions, .* has action 15"):
        check_batch(guided, {**batch, "action": batch["action"] * 0 + 15})
    del batch["action"]
    with pytest.raises(ValueError, match="guided by true actions; the dataset has no"):
        check_batch(guided, batch)
    with pytest.raises(ValueError, match="guided by true actions"):
        evaluate(guided, iter([batch]), 2)


def test_held_actions_share_random_draws(genie):
    prompts = take("video")[:2, 0]
    held = hold_actions(genie, prompts, SAMPLING, frames=3, seed=7)
    assert held.shape == (2, 5, 4, 16, 16, 3)
    for action in (0, 4):
        actions = np.full((2, 3), action)
        expected = WorldSampler(genie).generate(prompts[:, None], actions, 7, SAMPLING)
        np.testing.assert_allclose(held[:, action], expected, atol=1e-6)


if __name__ == "__main__":
    print_scores_on_two_replicas()
