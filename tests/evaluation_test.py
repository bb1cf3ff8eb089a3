"""All scores, computed again from the videos that come with them."""

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity
from sklearn.metrics import normalized_mutual_info_score

from genie_tf import evaluation
from genie_tf.evaluation import evaluate
from genie_tf.metrics.controllability import coinrun_action_groups
from genie_tf.models import Genie
from genie_tf.samplers import Rollout
from genie_tf.testing.tiny_models import (
    tiny_batch,
    tiny_genie,
    tiny_latent_action_model,
)

CLIPS = 5


def batches():
    """Batches of two clips of eleven frames: the sixth clip is one too many."""
    for step in range(3):
        yield tiny_batch(step, batch=2, time=11)


def take(name):
    return np.concatenate([batch[name] for batch in batches()])[:CLIPS]


@pytest.fixture(scope="module", autouse=True)
def without_compilation():
    """Compiling anew for each evaluation would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "compiled", lambda function: function)
        yield


@pytest.fixture(scope="module")
def rollout():
    genie = tiny_genie()
    # As training does, so that tokens and actions vary.
    for part in (genie.tokenizer, genie.latent_action_model):
        part.update_codebooks(part.losses_and_metrics(tiny_batch(9))[1])
    return Rollout(genie, num_steps=2)


@pytest.fixture(scope="module")
def evaluated(rollout):
    return evaluate(rollout, batches(), CLIPS, coinrun_action_groups)


@pytest.fixture
def scores(evaluated):
    return evaluated[0]


@pytest.fixture
def videos(evaluated):
    return evaluated[1]


def to_float(video):
    return video / 255 if video.dtype == "uint8" else np.clip(video, 0, 1)


def psnr(target, prediction):
    """(clips, time)."""
    error = (to_float(target) - to_float(prediction)).astype("float64")
    return -10 * np.log10(np.mean(error**2, axis=(2, 3, 4)))


def ssim(target, prediction):
    """The mean over all frames."""
    frames = (to_float(x).reshape(-1, 16, 16, 3) for x in (target, prediction))
    return np.mean(
        [
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
    )


def usage(codes):
    counts = np.unique(codes, return_counts=True)[1]
    return {
        "codes_used": len(counts),
        "perplexity": pytest.approx(np.exp(stats.entropy(counts)), rel=1e-5),
    }


def test_exactly_the_clips_asked_for(scores, videos):
    assert scores["clips"] == CLIPS
    np.testing.assert_array_equal(videos["truth"], take("video"))
    for name in ("reconstruction", "prediction"):
        assert videos[name].shape == (CLIPS, 11, 16, 16, 3)


def test_tokenizer(scores, videos, rollout):
    outputs = rollout.genie.tokenizer(take("video"))
    np.testing.assert_allclose(
        videos["reconstruction"], outputs["reconstruction"], atol=1e-5
    )
    truth = videos["truth"]
    assert scores["tokenizer"] == {
        "psnr": pytest.approx(psnr(truth, videos["reconstruction"]).mean(), rel=1e-5),
        "ssim": pytest.approx(ssim(truth, videos["reconstruction"]), abs=1e-5),
        **usage(np.array(outputs["indices"])),
    }
    assert scores["tokenizer"]["codes_used"] > 5


def test_latent_actions(scores, videos, rollout):
    outputs = rollout.genie.latent_action_model(take("video"))
    found = np.array(outputs["indices"])
    # CoinRun's keys 9 to 14 do nothing, as 4 does.
    true = np.where(take("action") > 8, 4, take("action"))
    nmi = normalized_mutual_info_score(true.ravel(), found.ravel())
    future = videos["truth"][:, 1:]
    assert scores["latent_actions"] == {
        "psnr": pytest.approx(
            psnr(future, np.array(outputs["prediction"])).mean(), rel=1e-5
        ),
        "nmi": pytest.approx(nmi, rel=1e-5),
        **usage(found),
    }
    assert scores["latent_actions"]["codes_used"] > 2


def test_dynamics(scores, videos, rollout):
    genie = rollout.genie
    future, predicted = videos["truth"][:, 1:], videos["prediction"][:, 1:]
    quality = psnr(future, predicted)
    # dPSNR after four frames, with Student's interval.
    change = quality[:, 3] - psnr(future, videos["random"][:, 1:])[:, 3]
    interval = stats.t.interval(
        0.95, CLIPS - 1, loc=change.mean(), scale=stats.sem(change)
    )
    outputs = genie(take("video"), take("mask"))
    hits = np.argmax(outputs["logits"], axis=-1) == np.array(outputs["tokens"])
    top1 = [hit[mask].mean() for hit, mask in zip(hits, take("mask"), strict=True)]
    assert scores["dynamics"] == {
        "psnr": pytest.approx(quality.mean(axis=0).tolist(), rel=1e-5),
        "ssim": pytest.approx(ssim(future, predicted), abs=1e-5),
        "delta_psnr_4": {
            "mean": pytest.approx(change.mean(), abs=1e-4),
            "ci95": pytest.approx(interval, abs=1e-3),
        },
        "top1": pytest.approx(np.mean(top1), abs=1e-6),
    }
    assert len(scores["dynamics"]["psnr"]) == 10


def test_predictions_follow_the_prompt_and_the_inferred_actions(videos, rollout):
    video = take("video")[:2]
    actions = rollout.genie.latent_action_model.infer_actions(video)
    expected = rollout.generate(video[:, :1], actions)
    np.testing.assert_allclose(videos["prediction"][:2], expected, atol=1e-5)
    prompt = rollout.genie.tokenizer(video[:, :1])["reconstruction"]
    np.testing.assert_allclose(videos["prediction"][:2, :1], prompt, atol=1e-5)
    # The other video differs by its actions alone.
    np.testing.assert_array_equal(videos["random"][:, 0], videos["prediction"][:, 0])
    assert (videos["random"] != videos["prediction"]).any()


def test_baseline_repeats_the_prompt(scores):
    video = take("video")
    repeated = np.repeat(video[:, :1], 10, axis=1)
    expected = psnr(video[:, 1:], repeated).mean(axis=0)
    found = scores["baselines"]["repeat_last_frame_psnr"]
    assert found == pytest.approx(expected.tolist(), rel=1e-5)
    assert len(found) == 10


def test_again_gives_the_same(rollout, scores, videos):
    again, videos_again = evaluate(rollout, batches(), CLIPS, coinrun_action_groups)
    assert again == scores
    np.testing.assert_equal(videos_again, videos)


def test_actions_of_other_games_count_each(rollout, videos):
    def twenty_actions():
        for batch in batches():
            yield {**batch, "action": batch["action"] + 5}

    scores, _ = evaluate(rollout, twenty_actions(), CLIPS)
    inferred = videos["latent_actions"].ravel()
    nmi = normalized_mutual_info_score(take("action").ravel(), inferred)
    assert scores["latent_actions"]["nmi"] == pytest.approx(nmi, rel=1e-5)


def test_without_true_actions_there_is_no_agreement(rollout):
    def without_actions():
        for batch in batches():
            del batch["action"]
            yield batch

    scores, _ = evaluate(rollout, without_actions(), 2)
    assert set(scores["latent_actions"]) == {"psnr", "codes_used", "perplexity"}
    assert scores["clips"] == 2


def test_latent_actions_between_tokens_have_no_pixels_to_score():
    parts = tiny_genie()
    of_tokens = tiny_latent_action_model(
        frame_shape=parts.tokenizer.grid_shape, patch_size=1
    )
    genie = Genie(parts.tokenizer, of_tokens, parts.dynamics)
    scores, _ = evaluate(Rollout(genie, num_steps=2), batches(), 2)
    assert set(scores["latent_actions"]) == {"codes_used", "perplexity", "nmi"}
