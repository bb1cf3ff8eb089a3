"""Feature networks of each format, the frames they get, and their features."""

import importlib.util
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from genie_tf.evaluation.feature_networks import (
    load_feature_network,
    num_samples_needed,
)
from genie_tf.testing.feature_networks import SavedMeans, means

HUB = "https://tfhub.dev/"
I3D = HUB + "deepmind/i3d-kinetics-400/1"


@pytest.fixture
def video():
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(3, 9, 8, 12, 3), dtype=np.uint8)


def pixels_as_features(shape):
    """Return a Keras model whose features are its input."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Flatten()(inputs), name="Pixels")


def mean_colors(video):
    """Return the mean color of each frame, float64 in [-1, 1]."""
    return video.mean(axis=(-3, -2), dtype="float64") / 127.5 - 1


def test_fid_has_features_of_each_frame(tmp_path, video):
    pixels_as_features((8, 12, 3)).save(tmp_path / "pixels.keras")
    network = load_feature_network(str(tmp_path / "pixels.keras"), "fid")
    assert (network.name, network.score_name) == ("Pixels", "FID-Pixels")
    assert (network.frame_size, network.width) == ((8, 12), 288)
    features = network(video)
    assert features.dtype == np.float64
    expected = video.reshape(27, 288) / 127.5 - 1
    np.testing.assert_allclose(features, expected, atol=1e-6)
    np.testing.assert_allclose(network(video / 255), expected, atol=1e-6)


def test_fvd_has_features_of_each_clip(tmp_path, video):
    pixels_as_features((9, 8, 12, 3)).save(tmp_path / "pixels.keras")
    network = load_feature_network(str(tmp_path / "pixels.keras"), "fvd")
    assert network.score_name == "FVD-Pixels"
    assert (network.num_frames, network.width) == (9, 9 * 288)
    expected = video.reshape(3, -1) / 127.5 - 1
    np.testing.assert_allclose(network(video), expected, atol=1e-6)


def test_score_has_the_name_of_the_network(tmp_path):
    means((None, 64, 64, 3), "CoinRun").save(tmp_path / "any.keras")
    network = load_feature_network(str(tmp_path / "any.keras"), "fvd")
    assert (network.score_name, network.num_frames) == ("FVD-CoinRun", None)


def test_frames_are_resized_without_antialiasing(tmp_path, video):
    pixels_as_features((5, 20, 3)).save(tmp_path / "pixels.keras")
    network = load_feature_network(str(tmp_path / "pixels.keras"), "fid")
    frames = video.reshape(-1, *video.shape[2:]) / np.float32(127.5) - 1
    resized = tf.image.resize(frames, (5, 20), "bilinear", antialias=False)
    np.testing.assert_allclose(
        network(video), tf.reshape(resized, (27, -1)), rtol=0, atol=1e-5
    )
    smooth = tf.image.resize(frames, (5, 20), "bilinear", antialias=True)
    assert np.abs(network(video) - tf.reshape(smooth, (27, -1))).max() > 0.1


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [
        ("fid", (None, None, None, 3), (299, 299)),
        ("fid", (None, 30, None, 3), (30, 299)),
        ("fvd", (None, None, None, None, 3), (224, 224)),
        ("fvd", (None, None, 16, 24, 3), (16, 24)),
    ],
)
def test_free_frame_sizes_become_the_published_ones(tmp_path, kind, shape, size):
    folder = SavedMeans(shape).save(tmp_path / "means")
    network = load_feature_network(folder, kind)
    assert network.frame_size == size
    assert network.score_name == f"{kind.upper()}-means"
    video = np.full((1, 9, 64, 64, 3), 51, np.uint8)
    assert np.unique(network(video)) == pytest.approx(-0.6)


def test_features_do_not_depend_on_batches(tmp_path):
    rng = np.random.default_rng(0)
    video = rng.integers(256, size=(35, 9, 4, 4, 3), dtype=np.uint8)
    folder = SavedMeans((None, None, 4, 4, 3)).save(tmp_path / "means")
    features = load_feature_network(folder, "fvd")(video)
    np.testing.assert_allclose(features, mean_colors(video).mean(axis=1), atol=1e-6)


def test_saved_model_without_signature_is_called(tmp_path, video):
    class Callable(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
        def __call__(self, images):
            return tf.reduce_mean(images, [1, 2])

    tf.saved_model.save(Callable(), tmp_path / "callable", signatures={})
    network = load_feature_network(str(tmp_path / "callable"), "fid")
    assert network.width == 3
    assert network(video).shape == (27, 3)


def test_hub_module_of_tensorflow_1_is_supported(tmp_path, video):
    """For example deepmind/i3d-kinetics-400/1."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        rgb = v1.placeholder(tf.float32, (None, None, 224, 224, 3))
        weight = v1.get_variable("weight", (3, 5), initializer=v1.ones_initializer())
        outputs = tf.reduce_mean(rgb, [1, 2, 3]) @ weight
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def(
            {"rgb_input": rgb}, {"default": outputs}
        )
        builder = v1.saved_model.Builder(str(tmp_path / "i3d"))
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    network = load_feature_network(str(tmp_path / "i3d"), "fvd")
    assert (network.frame_size, network.width) == ((224, 224), 5)
    assert network(video).shape == (3, 5)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Fake tensorflow_hub that loads the same SavedModel for every handle."""
    module = types.ModuleType("tensorflow_hub")
    module.__spec__ = types.SimpleNamespace()
    module.requests = []

    def load(handle):
        module.requests.append(handle)
        return tf.saved_model.load(tmp_path / "hub")

    module.load = load
    monkeypatch.setitem(sys.modules, "tensorflow_hub", module)
    return module


@pytest.mark.parametrize(
    ("kind", "handle", "score_name"),
    [
        ("fvd", I3D, "FVD"),
        ("fvd", "https://www.kaggle.com/models/deepmind/i3d-kinetics/tensorFlow1/400/1", "FVD"),
        (
            "fvd",
            "https://kaggle.com/models/deepmind/i3d-kinetics/frameworks/tensorFlow1/"
            "variations/400/versions/1",
            "FVD",
        ),
        (
            "fvd",
            HUB + "deepmind/i3d-kinetics-600/1",
            "FVD-deepmind/i3d-kinetics-600/1",
        ),
        ("fid", HUB + "tensorflow/tfgan/eval/inception/1", "FID"),
        (
            "fid",
            HUB + "google/imagenet/inception_v3/feature_vector/5",
            "FID-google/imagenet/inception_v3/feature_vector/5",
        ),
    ],
)  # fmt: skip
def test_published_networks_have_plain_score_names(
    tmp_path, hub, kind, handle, score_name
):
    shape = (None, 8, 8, 3) if kind == "fid" else (None, None, 8, 8, 3)
    SavedMeans(shape).save(tmp_path / "hub", "default")
    network = load_feature_network(handle, kind)
    assert hub.requests == [handle]
    assert network.score_name == score_name


def test_images_are_in_the_range_of_the_network(tmp_path, hub):
    """It is [0, 1] for "feature_vector"s, and [-1, 1] for all others."""
    SavedMeans((None, 8, 8, 3)).save(tmp_path / "hub", "default")
    video = np.array([0, 51, 255], np.uint8).repeat(64).reshape(3, 1, 8, 8, 1)
    video = video.repeat(3, axis=-1)
    for module, values in (
        ("google/imagenet/inception_v3/feature_vector/5", [0, 0.2, 1]),
        ("tensorflow/tfgan/eval/inception/1", [-1, -0.6, 1]),
    ):
        features = load_feature_network(HUB + module, "fid")(video)
        np.testing.assert_allclose(features[:, 0], values, atol=1e-6)


def test_pool_3_is_used_among_several_outputs(tmp_path, hub, video):
    SavedMeans((None, 8, 12, 3), outputs=("logits", "pool_3")).save(tmp_path / "hub")
    network = load_feature_network(HUB + "tensorflow/tfgan/eval/inception/1", "fid")
    expected = mean_colors(video).reshape(-1, 3) + 1
    np.testing.assert_allclose(network(video), expected, atol=1e-6)


def test_missing_tensorflow_hub_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_hub", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as error:
        load_feature_network(I3D, "fvd")
    assert str(error.value) == (
        f"{I3D} needs tensorflow_hub: pip install genie_tf[hub]"
    )


def test_unreachable_hub_is_reported(hub):
    def load(handle):
        raise OSError("Name or service not known")

    hub.load = load
    with pytest.raises(ValueError) as error:
        load_feature_network(I3D, "fvd")
    assert str(error.value) == (
        f"{I3D} could not be loaded: Name or service not known; on a machine without "
        "network access, pass the folder of a copy."
    )


@pytest.fixture(scope="module")
def fvd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks") / "means"
    return load_feature_network(SavedMeans((None, None, 8, 8, 3)).save(folder), "fvd")


@pytest.mark.parametrize(
    "video",
    [
        np.zeros((9, 8, 8, 3), np.uint8),
        np.zeros((1, 9, 8, 8, 1), np.uint8),
        np.zeros((0, 9, 8, 8, 3), np.uint8),
        np.zeros((1, 9, 8, 8, 3), np.int32),
    ],
)
def test_malformed_video_is_rejected(fvd, video):
    with pytest.raises(ValueError) as error:
        fvd(video)
    assert str(error.value) == (
        "Expected video (clips, time, height, width, 3), uint8, or float in "
        f"[0, 1]; received shape {video.shape}, dtype {video.dtype}."
    )


def test_unsupported_clip_lengths_are_rejected(fvd, tmp_path):
    with pytest.raises(ValueError, match="FVD-means needs clips of 9 frames .* 8."):
        fvd(np.zeros((1, 8, 8, 8, 3), np.uint8))
    folder = SavedMeans((None, 12, 8, 8, 3)).save(tmp_path / "twelve")
    network = load_feature_network(folder, "fvd")
    assert network(np.zeros((1, 12, 8, 8, 3), np.uint8)).shape == (1, 3)
    with pytest.raises(
        ValueError, match="twelve takes clips of 12 frames; received 10"
    ):
        network(np.zeros((1, 10, 8, 8, 3), np.uint8))


def test_failing_network_is_reported(tmp_path):
    """Its three convolutions of size 5 need at least 13 frames."""
    inputs = x = keras.Input((None, 8, 8, 3))
    for _ in range(3):
        x = keras.layers.Conv3D(2, (5, 1, 1))(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    keras.Model(inputs, x, name="Long").save(tmp_path / "x.keras")
    network = load_feature_network(str(tmp_path / "x.keras"), "fvd")
    assert network(np.zeros((1, 13, 8, 8, 3), np.uint8)).shape == (1, 2)
    with pytest.raises(
        ValueError, match=r"Long cannot compute features of \(1, 9, 8, 8, 3\): "
    ):
        network(np.zeros((1, 9, 8, 8, 3), np.uint8))


def test_score_needs_enough_clips(fvd, tmp_path):
    assert num_samples_needed(fvd) == 4
    fvd.check_clips(4, 9)
    with pytest.raises(ValueError) as error:
        fvd.check_clips(3, 10)
    assert str(error.value) == (
        "FVD-means needs 4 clips of 10 frames or more, because its network has 3 "
        "features; received 3."
    )
    with pytest.raises(ValueError, match="FVD-means needs clips of 9 frames or more"):
        fvd.check_clips(4, 8)
    pixels_as_features((2, 5, 3)).save(tmp_path / "pixels.keras")
    fid = load_feature_network(str(tmp_path / "pixels.keras"), "fid")
    assert num_samples_needed(fid) == 31
    fid.check_clips(4, 8)
    with pytest.raises(
        ValueError, match="FID-Pixels needs 4 clips of 10 frames or mor"
    ):
        fid.check_clips(3, 10)
    with pytest.raises(ValueError, match="FID-Pixels needs 4 clips of 8 frames or mor"):
        fid.check_clips(3, 8)
