"""Clips of any camera, frame rate and size, from episodes in the form of RT-1."""

import itertools
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from genie_tf.datasets import rlds_decoding
from genie_tf.datasets.array_episodes import write_arrays
from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.episodes import open_episodes
from genie_tf.datasets.frames import fit_frames

# Without the version, TFDS would query the network before it reads the disk.
RT1 = "fractal20220817_data:0.1.0"
LENGTH = 12


class Fractal20220817Data(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """RT-1's features in TFDS; step s is gray 10 s in image, 10 s + 100 in hand_image."""

    VERSION = tfds.core.Version("0.1.0")

    def _info(self):
        def numbers(*shape):
            return tfds.features.Tensor(shape=shape, dtype=np.float32)

        step = {
            "action": {
                "base_displacement_vector": numbers(2),
                "terminate_episode": tfds.features.Tensor(shape=(3,), dtype=np.int32),
                "world_vector": numbers(3),
            },
            "observation": {
                "image": tfds.features.Image(
                    shape=(256, 320, 3), encoding_format="jpeg"
                ),
                # From other Open X-Embodiment datasets.
                "hand_image": tfds.features.Image(shape=(32, 32, 3)),
                "depth": tfds.features.Tensor(shape=(32, 32, 1), dtype=np.float32),
                "natural_language_embedding": numbers(512),
                "natural_language_instruction": tfds.features.Text(),
            },
            "reward": np.float32,
            "is_first": np.bool_,
            "is_last": np.bool_,
            "is_terminal": np.bool_,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "aspects": {"already_success": np.bool_},
                    "steps": tfds.features.Dataset(step),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield (
            "0",
            {
                "aspects": {"already_success": False},
                "steps": [self._step(number) for number in range(LENGTH)],
            },
        )

    def _step(self, number):
        return {
            "action": {
                "base_displacement_vector": np.zeros(2, np.float32),
                "terminate_episode": np.zeros(3, np.int32),
                "world_vector": np.zeros(3, np.float32),
            },
            "observation": {
                "image": np.full((256, 320, 3), 10 * number, np.uint8),
                "hand_image": np.full((32, 32, 3), 10 * number + 100, np.uint8),
                "depth": np.zeros((32, 32, 1), np.float32),
                "natural_language_embedding": np.zeros(512, np.float32),
                "natural_language_instruction": "pick the can",
            },
            "reward": 0.0,
            "is_first": number == 0,
            "is_last": number == LENGTH - 1,
            "is_terminal": number == LENGTH - 1,
        }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rt1")
    Fractal20220817Data(data_dir=folder).download_and_prepare()
    return str(folder)


def first_batch(dataset, batch_size=2, stride=1, **settings):
    clips = ClipDataset(open_episodes(dataset, "train", **settings), 4, stride)
    batches = clips.batches(batch_size, seed=0)
    batch = next(batches)
    batches.close()
    return batch


@pytest.mark.parametrize(
    ("camera", "shape", "darkest"),
    [
        (None, (256, 320, 3), 0),
        ("image", (256, 320, 3), 0),
        ("hand_image", (32, 32, 3), 100),
    ],
)
def test_each_camera_is_read(data_dir, camera, shape, darkest):
    batch = first_batch(RT1, data_dir=data_dir, camera=camera)
    assert batch.keys() == {"video"}  # The actions are continuous.
    assert batch["video"].shape == (2, 4, *shape)
    steps = (batch["video"][:, :, 0, 0, 0].astype(int) - darkest) / 10
    np.testing.assert_array_equal(np.diff(steps), 1)


def test_unknown_camera_error_lists_cameras(data_dir):
    with pytest.raises(ValueError) as error:
        first_batch(RT1, data_dir=data_dir, camera="depth")
    assert str(error.value) == (
        f"The observations of dataset '{RT1}' have no camera 'depth'; available: "
        "hand_image, image; unusable: depth (Tensor of float32 (32, 32, 1)), "
        "natural_language_embedding (Tensor of float32 (512,)), "
        "natural_language_instruction (Text); expected frames of uint8 (height, width, "
        "3), red, green and blue from 0 to 255."
    )


def test_frame_size_scales_frames(data_dir):
    small = first_batch(RT1, data_dir=data_dir, frame_size=(64, 64))["video"]
    whole = first_batch(RT1, data_dir=data_dir)["video"]
    assert (small.dtype, small.shape) == (np.uint8, (2, 4, 64, 64, 3))
    np.testing.assert_array_equal(small, whole[:, :, :64, :64])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_only_frames_of_clips_are_decoded(data_dir, stride):
    decode = rlds_decoding._decode_image
    with mock.patch.object(
        rlds_decoding, "_decode_image", side_effect=decode
    ) as counted:
        batch = first_batch(RT1, data_dir=data_dir, batch_size=1, stride=stride)
    levels = batch["video"][0, :, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(np.diff(levels), 10 * stride)
    # One frame on opening, the clip in use, and up to four clips ahead.
    num_clips, rest = divmod(counted.call_count - 1, 4)
    assert 1 <= num_clips <= 5 and rest == 0


@pytest.fixture
def arrays(tmp_path):
    """Array dataset with one episode, whose step s is gray s and has action s."""
    frames = np.arange(LENGTH, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(frames, (LENGTH, 4, 6, 3))
    write_arrays(tmp_path / "arrays", {"train": [(frames, np.arange(LENGTH))]})
    return str(tmp_path / "arrays")


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_stride_skips_steps(arrays, stride):
    clips = ClipDataset(open_episodes(arrays, "train"), 4, stride)
    batches = clips.batches(batch_size=1, seed=0)
    seen = set()
    for batch in itertools.islice(batches, 60):
        steps = batch["video"][0, :, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(np.diff(steps), stride)
        np.testing.assert_array_equal(batch["action"][0], steps[:-1])
        seen |= set(steps)
    batches.close()
    assert seen == set(range(LENGTH))


def test_arrays_are_scaled_to_frame_size(arrays):
    video = first_batch(arrays, frame_size=(2, 2))["video"]
    assert video.shape == (2, 4, 2, 2, 3)
    whole = first_batch(arrays)["video"]
    np.testing.assert_array_equal(video, whole[:, :, :2, :2])


def test_fit_frames_scales_and_crops_evenly():
    video = np.zeros((2, 3, 30, 60, 3), np.uint8)
    video[..., :15, :] = video[..., -15:, :] = 255
    assert fit_frames(video, (10, 10)).shape == (2, 3, 10, 10, 3)
    # Cropped pixels may bleed into the edges.
    assert fit_frames(video, (10, 10))[..., 1:-1, :].max() == 0
    assert fit_frames(video, (10, 20))[..., [0, -1], :].min() == 255
    assert fit_frames(video, (30, 60)) is video


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 0}, "stride must be at least 1; received 0."),
        ({"frame_size": (0, 8)}, "frame_size must be at least 1; received 0."),
        (
            {"stride": 4},
            "No episode of {!r}, split 'train', is long enough: requested clips of 13 "
            "frames; the longest episode has 12.",
        ),
        (
            {"camera": "wrist"},
            "The arrays of {!r} have a single, unnamed camera; received camera 'wrist'.",
        ),
    ],
)
def test_errors_are_one_sentence(arrays, changes, message):
    with pytest.raises(ValueError) as error:
        first_batch(arrays, **changes)
    assert str(error.value) == message.format(arrays)
