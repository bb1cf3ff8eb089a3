"""Videos as episodes: gray levels of the videos identify their frames."""

import contextlib
import os
import shutil
import socket

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from genie_tf.datasets.clips import ClipDataset
from genie_tf.datasets.episodes import open_episodes
from genie_tf.datasets.video_folder.video_folder_dataset_builder import (
    Builder,
    VideoFolderConfig,
)
from genie_tf.datasets.video_folder.videos import (
    find_videos,
    read_episodes,
    split_videos,
)
from genie_tf.media import decoder_process

FORM = {"fps": 10, "height": 8, "width": 8}
CODECS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}


def gray_frames(levels, height=32, width=32):
    """Return uniform gray frames, uint8 (time, height, width, 3)."""
    levels = np.array(levels, np.uint8)[:, None, None, None]
    return np.broadcast_to(levels, (len(levels), height, width, 3))


def write_video(path, frames, fps=10):
    codec, pixels = CODECS[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in np.ascontiguousarray(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path


def write_images(folder, frames, ending="png"):
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{number}.{ending}")
    return folder


def read(path, max_steps=1000, **form):
    return list(read_episodes(path, max_steps=max_steps, **{**FORM, **form}))


def gray_levels(episodes):
    """Return the gray level of each frame of each episode."""
    return [frames.mean(axis=(1, 2, 3)) for _, frames in episodes]


@pytest.mark.parametrize("ending", CODECS)
def test_each_file_type_is_decoded(tmp_path, ending):
    levels = 20 + 7 * np.arange(25)
    episodes = read(write_video(tmp_path / f"a.{ending}", gray_frames(levels)))
    (decoded,) = gray_levels(episodes)
    assert episodes[0][1].shape == (25, 8, 8, 3)
    # GIFs have 8 grays here; the others are slightly lossy.
    np.testing.assert_allclose(decoded, levels, atol=20 if ending == "gif" else 3)


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg"])
def test_frames_of_folder_are_in_numerical_order(tmp_path, ending):
    levels = 20 + 7 * np.arange(25)
    ((start, frames),) = read(write_images(tmp_path / "a", gray_frames(levels), ending))
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), levels, atol=1)
    assert start == 0


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (30, np.arange(30)),
        (10, np.arange(0, 30, 3)),
        (7.5, np.arange(0, 30, 4)),
        (60, np.arange(60) // 2),
    ],
)
def test_frames_are_resampled_to_fps(tmp_path, fps, expected):
    path = write_video(tmp_path / "a.mp4", gray_frames(20 + 7 * np.arange(30)), fps=30)
    (levels,) = gray_levels(read(path, fps=fps))
    np.testing.assert_allclose(levels, 20 + 7 * expected, atol=3)


def test_no_episode_crosses_a_cut(tmp_path):
    """A scene of one frame makes no episode."""
    scenes = [40 + 2 * np.arange(7), 200 + 2 * np.arange(12), [10], 120 - np.arange(5)]
    path = write_video(tmp_path / "a.mp4", gray_frames(np.concatenate(scenes)))
    episodes = read(path, max_steps=8)
    parts = [scenes[0], scenes[1][:8], scenes[1][8:], scenes[3]]
    for levels, expected in zip(gray_levels(episodes), parts, strict=True):
        np.testing.assert_allclose(levels, expected, atol=3)
    starts = [start for start, _ in episodes]
    np.testing.assert_allclose(starts, [0, 0.7, 1.5, 2.0], atol=1e-3)


def test_moving_object_is_no_cut(tmp_path):
    frames = np.zeros((20, 64, 64, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[20:40, 2 * number : 2 * number + 20] = 255
    assert len(read(write_video(tmp_path / "a.mp4", frames))) == 1


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([100, 300, 100, 500], [[90, 100, 100, 100, 110] + 5 * [100]]),
        # A still frame is shown for at most ten seconds.
        ([100, 11_000, 100, 200], [[90] + 100 * [100], [110, 100, 100]]),
        ([100, 100, 100, 60_000], [[90, 100, 110] + 100 * [100]]),
    ],
)
def test_frame_durations_are_respected(tmp_path, durations, expected):
    path = tmp_path / "a.gif"
    first, *others = (Image.fromarray(f) for f in gray_frames([90, 100, 110, 100]))
    first.save(path, save_all=True, append_images=others, duration=durations)
    decoded = gray_levels(read(path))
    for levels, right in zip(decoded, expected, strict=True):
        np.testing.assert_array_equal(levels, right)


def test_frames_fill_size_and_are_cropped_evenly(tmp_path):
    frames = np.zeros((4, 60, 120, 3), np.uint8)
    frames[:, :, :28] = frames[:, :, -28:] = 255
    for path in (
        write_video(tmp_path / "a.mp4", frames),
        write_images(tmp_path / "b", frames),
    ):
        ((_, wide),) = read(path, height=30, width=60)
        assert wide.shape == (4, 30, 60, 3)
        assert wide[:, :, [0, -1]].min() > 200
        ((_, square),) = read(path, height=15, width=15)
        assert square.shape == (4, 15, 15, 3)
        assert square.max() < 30


def test_damaged_image_is_replaced_by_previous_one(tmp_path):
    folder = write_images(tmp_path / "a", gray_frames(range(20, 30)))
    (folder / "frame6.png").write_bytes(b"nothing")
    (folder / ".frame7.png").write_bytes(b"hidden")
    (folder / "frame8.png").unlink()
    (folder / "frame8.png").symlink_to(folder / "frame9.png")
    episodes = read_episodes(folder, max_steps=99, **FORM)
    np.testing.assert_array_equal(
        next(episodes)[1][:, 0, 0, 0], [20, 21, 22, 23, 24, 25, 25, 27, 29, 29]
    )
    with pytest.raises(ValueError) as error:
        next(episodes)
    assert str(error.value) == (
        "1 of its 10 images cannot be used (frame6.png: it cannot be read as a PNG, "
        "JPEG or GIF image)"
    )


def test_frames_before_a_crash_are_kept(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", gray_frames(range(20, 60)))
    original = decoder_process._receive

    def receive(stream):
        """Simulate a crash of the worker after ten frames."""
        receive.count += 1
        if receive.count == 12:
            raise EOFError
        return original(stream)

    receive.count = 0
    monkeypatch.setattr(decoder_process, "_receive", receive)
    decoder_process._idle.clear()
    episodes = read_episodes(path, max_steps=99, **FORM)
    assert len(next(episodes)[1]) == 10
    with pytest.raises(ValueError, match="^decoding it crashes$"):
        next(episodes)


@pytest.fixture
def folder(tmp_path):
    """Folder of five good videos of two scenes each, some bad ones, and other files."""
    folder = tmp_path / "videos"
    (folder / "below").mkdir(parents=True)
    frames = gray_frames([*range(40, 60), *range(200, 220)])
    for name in ("a.mp4", "b.webm", "below/c.avi", "below/d.MP4"):
        path = folder / name
        write_video(path.with_suffix(path.suffix.lower()), frames).rename(path)
    write_images(folder / "e", frames)
    write_video(folder / "one.mp4", frames[:1])
    whole = (folder / "a.mp4").read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.webm").touch()
    (folder / "text.mp4").write_text("no video at all\n" * 1000)
    # FFmpeg would open the files in such a list.
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:4,\na.mp4\n#EXT-X-ENDLIST\n")
    (folder / "notes.txt").write_text("filmed in May")
    (folder / ".hidden.mp4").touch()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), "fltp", "mono"
        )
        silence.rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return folder


GOOD = {"a.mp4", "b.webm", "below/c.avi", "below/d.MP4", "e"}
BROKEN = "it cannot be decoded (Invalid data found when processing input)"
BAD = {
    "one.mp4": "no scene has two frames at 10 per second",
    "half.mp4": BROKEN,
    "empty.webm": BROKEN,
    "text.mp4": BROKEN,
    "list.mp4": BROKEN,
    "sound.mp4": "it has no video, or its codec is unknown",
    "notes.txt": "its name does not end in .avi, .gif, .jpeg, .jpg, .m4v, .mkv, .mov, "
    ".mp4, .png, .webm",
}


def test_videos_in_subfolders_are_found(folder):
    videos, skipped = find_videos(folder)
    assert set(videos) == GOOD | set(BAD) - {"notes.txt"}
    assert skipped == {"notes.txt": BAD["notes.txt"]}


def test_links_are_followed_once(tmp_path):
    far, near = tmp_path / "far", tmp_path / "near"
    for folder in (far / "deep", near / "own"):
        folder.mkdir(parents=True)
    for name in (far / "1.mp4", far / "deep/2.mp4", near / "own/3.mp4"):
        name.touch()
    (near / "a_day").symlink_to(far)
    (near / "again").symlink_to(far / "deep")
    (near / "file.mp4").symlink_to(far / "1.mp4")
    (near / "own/up").symlink_to(near)
    (near / "own/4.mp4").hardlink_to(near / "own/3.mp4")
    (near / "gone.mp4").symlink_to(far / "gone.mp4")
    (near / "loop.mp4").symlink_to(near / "loop.mp4")
    videos, skipped = find_videos(near)
    assert videos == ["a_day/1.mp4", "a_day/deep/2.mp4", "own/3.mp4"]
    assert skipped == {
        "again": "it is the same as a_day/deep",
        "file.mp4": "it is the same as a_day/1.mp4",
        "gone.mp4": "it cannot be read (No such file or directory)",
        "loop.mp4": "it cannot be read (Too many levels of symbolic links)",
        "own/4.mp4": "it is the same as own/3.mp4",
        "own/up": "it is the same as .",
    }


def test_images_next_to_videos_are_skipped(tmp_path):
    for name in ("a.mp4", "a.jpg", "cover.png", "day/b.webm", "day/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("day/frames/1.png", "day/frames/2.png", "frames/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    videos, skipped = find_videos(tmp_path)
    assert videos == ["a.mp4", "day/b.webm", "day/frames", "frames"]
    assert skipped == dict.fromkeys(
        ["a.jpg", "cover.png", "day/b.png"],
        "it is an image next to videos: put frames in a folder without videos",
    )


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "frame.png")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as end:
        end.bind(str(tmp_path / "socket.mp4"))
        videos, skipped = find_videos(tmp_path)
    assert not videos
    assert skipped == dict.fromkeys(
        ["frame.png", "pipe.mp4", "socket.mp4", "zero.mp4"], "it is not a regular file"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_folder_is_reported(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    _, skipped = find_videos(tmp_path)
    assert skipped == {"closed": "it cannot be read (Permission denied)"}


def test_names_can_hold_any_bytes(folder, tmp_path):
    """Test Latin-1, a line break and Japanese."""
    (folder / "a.mp4").rename(os.fsdecode(bytes(folder) + b"/caf\xe9.mp4"))
    (folder / "b.webm").rename(folder / "two\nlines.webm")
    (folder / "e").rename(folder / "映像")
    (folder / "notes.txt").rename(os.fsdecode(bytes(folder) + b"/\xff.txt"))
    splits, skipped = split_videos(folder, **FORM)
    assert set.union(*map(set, splits.values())) == {
        *("caf\udce9.mp4", "two\nlines.webm", "映像", "below/c.avi", "below/d.MP4")
    }
    assert "\\udcff.txt" in skipped
    build(folder, tmp_path, splits, skipped)
    builder = tfds.builder("video_folder/mine", data_dir=tmp_path)
    names = {
        episode["episode_metadata"]["video"].numpy().decode()
        for split in splits
        for episode in builder.as_dataset(split=split)
    }
    assert names == {
        *("caf\\udce9.mp4", "two\\nlines.webm", "映像", "below/c.avi", "below/d.MP4")
    }


def test_split_videos_skips_only_unusable_files(folder):
    splits, skipped = split_videos(folder, **FORM)
    assert skipped == BAD
    assert {split: len(names) for split, names in splits.items()} == {
        **{"train": 3, "validation": 1, "test": 1}
    }
    assert set.union(*map(set, splits.values())) == GOOD
    assert split_videos(folder, **FORM) == (splits, skipped)


def test_too_few_videos_are_rejected(tmp_path):
    with pytest.raises(ValueError) as error:
        split_videos(tmp_path, **FORM)
    assert str(error.value) == (
        "Expected at least 3 usable videos, for training, validation and test; "
        f"{tmp_path} has 0."
    )
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_text("no video")
    with pytest.raises(ValueError) as error:
        split_videos(tmp_path, **FORM)
    assert str(error.value).endswith(
        f"has 0 (0.mp4: {BROKEN}; 1.mp4: {BROKEN}; 2.mp4: {BROKEN}; ...)."
    )


def build(folder, data_dir, splits, skipped):
    config = VideoFolderConfig(
        name="mine",
        description="Videos for tests.",
        folder=folder,
        splits=splits,
        skipped=skipped,
        max_steps=16,
        **FORM,
    )
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def test_dataset_is_readable_by_tfds_and_clips(folder, tmp_path):
    splits, skipped = split_videos(folder, **FORM)
    (folder / "e" / "frame30.png").write_bytes(b"nothing")
    builder = build(folder, tmp_path, splits, skipped)
    assert builder.info.metadata["skipped"]["e"] == (
        "part of it, because 1 of its 40 images cannot be used (frame30.png: it "
        "cannot be read as a PNG, JPEG or GIF image)"
    )
    videos = set()
    for split, names in splits.items():
        for episode in builder.as_dataset(split=split):
            steps = next(episode["steps"].batch(16).as_numpy_iterator())
            assert set(steps) == {"observation", "is_first", "is_last", "is_terminal"}
            length = len(steps["observation"])
            np.testing.assert_array_equal(steps["is_first"], np.arange(length) == 0)
            np.testing.assert_array_equal(
                steps["is_last"], np.arange(length) == length - 1
            )
            assert not steps["is_terminal"].any()
            name = episode["episode_metadata"]["video"].numpy().decode()
            assert name in names
            videos.add(name)
    assert videos == GOOD
    assert builder.info.splits.total_num_examples == 5 * 4

    for split in splits:
        episodes = open_episodes("video_folder/mine", split, tmp_path)
        batches = ClipDataset(episodes, 4).batches(batch_size=2, seed=0)
        video = next(batches)["video"]
        batches.close()
        assert video.shape == (2, 4, 8, 8, 3)
        steps = np.diff(video.mean(axis=(2, 3, 4)), axis=1)
        # Each frame is 1 brighter than the previous one; coding is slightly lossy.
        np.testing.assert_allclose(steps, 1, atol=3)


def test_removed_videos_end_build(folder, tmp_path):
    splits, skipped = split_videos(folder, **FORM)
    for name in splits["test"]:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(
        ValueError, match="^The videos have changed: a split has no usable "
    ):
        build(folder, tmp_path, splits, skipped)
    assert not list(tmp_path.glob("video_folder/mine/*"))
