"""Prompts of several frames, other last actions, black regions, and Fréchet distances."""

import types

import numpy as np
import pytest
import tensorflow as tf

from genie_tf.evaluation import Protocol, check_batch, evaluate
from genie_tf.metrics.frechet_distance import frechet_distance
from genie_tf.metrics.image_quality import black_out, psnr
from genie_tf.models import GuidedGenie
from genie_tf.samplers import WorldSampler
from genie_tf.testing.tiny_models import tiny_batch, tiny_genie

CLIPS, FRAMES = 4, 7
SAMPLING = {"num_steps": 1}
BATCH = tiny_batch(0, batch=CLIPS, time=FRAMES)
VIDEO, REGION = BATCH["video"], (2, 0, 6, 16)


@pytest.fixture(scope="module", autouse=True)
def without_compilation():
    """Eager mode, because compiling would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def genie():
    genie = tiny_genie()
    for part in (genie.tokenizer, genie.latent_action_model):
        part.update_codebooks(part.losses_and_metrics(tiny_batch(9))[1])
    return genie


@pytest.fixture(scope="module")
def guided(genie):
    arguments = {**genie.dynamics.arguments(), "action_dim": 15}
    return GuidedGenie(genie.tokenizer, type(genie.dynamics)(**arguments))


def score(model, protocol, **settings):
    return evaluate(
        model, iter([BATCH]), CLIPS, sampling=SAMPLING, protocol=protocol, **settings
    )


def draws(num_actions):
    """Return the seed of the samples and what is added to replace the last action."""
    rng = np.random.default_rng((0, 0))
    seed = int(rng.integers(2**31, size=(), dtype="int32"))
    for frames in (4, 2):
        rng.integers(num_actions, size=(CLIPS, frames), dtype="int32")
    return seed, 1 + rng.integers(num_actions - 1, size=(CLIPS, 2), dtype="int32")


def test_worlds_see_prompt_frames_and_their_actions(guided):
    scores, videos = score(guided, Protocol(prompt_frames=3, predicted_frames=2))
    dynamics = scores["dynamics"]
    assert (dynamics["prompt_frames"], dynamics["predicted_frames"]) == (3, 2)
    assert videos["prediction"].shape[1] == 5
    seed, offsets = draws(15)
    sampler, actions = WorldSampler(guided), BATCH["action"]

    def play(last):
        return np.array(
            sampler.generate(
                VIDEO[:, :3],
                np.concatenate([actions[:, 2 : 1 + len(last)], last[-1][:, None]], 1),
                seed,
                SAMPLING,
                prompt_actions=actions[:, :2],
            )
        )

    taken = [actions[:, 2], actions[:, 3]]
    np.testing.assert_allclose(videos["prediction"], play(taken), atol=1e-5)
    for t in (1, 2):
        other = (taken[t - 1] + offsets[:, t - 1]) % 15
        assert np.all(other != taken[t - 1])
        replaced = play([*taken[: t - 1], other])[:, -1]
        truth, inferred = VIDEO[:, 2 + t], videos["prediction"][:, 2 + t]
        change = np.array(psnr(truth, inferred)) - np.array(psnr(truth, replaced))
        actual = dynamics["delta_psnr"]["last_action"][t - 1]["mean"]
        assert actual == pytest.approx(change.mean(), abs=1e-3)


def test_two_worlds_with_other_prompts_differ(genie):
    one, three = (
        score(genie, Protocol(prompt_frames=number, predicted_frames=2))[1]
        for number in (1, 3)
    )
    assert one["prediction"].shape[1] == 3
    assert np.abs(one["prediction"][:, 1:] - three["prediction"][:, 3:]).max() > 0.01


def test_black_region_does_not_count(genie):
    plain, videos = score(genie.tokenizer, Protocol())
    black, same = score(genie.tokenizer, Protocol(region=REGION))
    np.testing.assert_array_equal(videos["reconstruction"], same["reconstruction"])
    pair = (black_out(x, REGION) for x in (VIDEO, videos["reconstruction"]))
    expected = np.median(psnr(*pair))
    rows = (x["tokenizer"]["videos"]["reconstruction"] for x in (black, plain))
    actual, other = (row["psnr_median"]["value"] for row in rows)
    assert actual == pytest.approx(expected, rel=1e-5) != other


def test_black_region_keeps_other_pixels_and_dtype():
    black = black_out(VIDEO, REGION)
    assert black.dtype == np.uint8
    assert not black[..., 2:8, :, :].any()
    np.testing.assert_array_equal(black[..., 8:, :, :], VIDEO[..., 8:, :, :])
    np.testing.assert_array_equal(black[..., :2, :, :], VIDEO[..., :2, :, :])
    assert black_out(VIDEO, None) is VIDEO


def mean_colors(video):
    video = np.asarray(video)
    video = video / 255 if video.dtype == np.uint8 else video
    return video.mean(axis=(2, 3)).reshape(-1, 3)


class Network:
    name, score_name = "Colors", "FID-Colors"

    def __call__(self, video):
        return mean_colors(video)


@pytest.mark.parametrize("part", ["tokenizer", "latent_action_model"])
@pytest.mark.parametrize("region", [None, REGION])
def test_frechet_distances_of_parts(genie, part, region):
    scores, videos = score(
        genie.parts()[part], Protocol(region=region), feature_networks=[Network()]
    )
    rows = {"reconstruction": (VIDEO, videos.get("reconstruction"))}
    if part == "latent_action_model":
        rows = {
            "prediction": (VIDEO[:, 1:], videos["next_frames"]),
            "repeat": (VIDEO[:, 1:], VIDEO[:, :-1]),
        }
    (actual,) = scores["frechet"]
    assert actual == {
        "network": "Colors",
        "score": "FID-Colors",
        **{
            name: pytest.approx(
                frechet_distance(*(mean_colors(black_out(x, region)) for x in pair))
            )
            for name, pair in rows.items()
        },
    }


def test_scores_of_frames_after_the_prompt_are_probed(guided):
    class Probe:
        name, actions = "probe", types.SimpleNamespace(group=np.asarray)

        def __call__(self, video):
            return np.full((len(video), video.shape[1] - 1), 3)

    scores, _ = score(guided, Protocol(3, 2), action_probe=Probe())
    expected = (BATCH["action"][:, 2:4] == 3).mean()
    rows = scores["action_probe"]["rows"]
    assert rows["real"]["accuracy"]["mean"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (
            Protocol(prompt_frames=7),
            "Expected clips of more frames than the prompt of 7; received clips of 7.",
        ),
        *(
            (
                Protocol(region=region),
                "Expected a region TOP,LEFT,HEIGHT,WIDTH inside frames of 16x16; received "
                f"{','.join(map(str, region))}.",
            )
            for region in ((0, 0, 17, 1), (0, 16, 1, 1), (0, 0, 0, 4))
        ),
    ],
)
def test_unsuitable_protocols_are_refused(genie, protocol, message):
    with pytest.raises(ValueError) as error:
        check_batch(genie, BATCH, protocol)
    assert str(error.value) == message
