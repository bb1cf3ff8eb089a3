"""Videos as episodes: videos whose grey levels say which frame is which."""

import subprocess
import tracemalloc

import av
import imageio_ffmpeg
import numpy as np
import pytest
from genie_tf.datasets.clips import clip_batches
from genie_tf.datasets.video_folder.video_folder_dataset_builder import (
    Builder,
    VideoFolderConfig,
)
from genie_tf.datasets.video_folder.videos import (
    find_videos,
    read_episodes,
    split_videos,
)
from PIL import Image

FORM = {"fps": 10, "height": 8, "width": 8}
CODECS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}


def greys(levels, height=32, width=32):
    """Frames of one grey each, uint8 (time, height, width, 3)."""
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


def write_pictures(folder, frames, ending="png"):
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{number}.{ending}")
    return folder


def read(path, max_steps=1000, **form):
    return list(read_episodes(path, max_steps=max_steps, **{**FORM, **form}))


def levels_of(episodes):
    """The grey of each frame of each episode."""
    return [frames.mean(axis=(1, 2, 3)) for _, frames in episodes]


@pytest.mark.parametrize("ending", CODECS)
def test_frames_of_each_kind_of_file(tmp_path, ending):
    levels = 20 + 7 * np.arange(25)
    episodes = read(write_video(tmp_path / f"a.{ending}", greys(levels)))
    (found,) = levels_of(episodes)
    assert episodes[0][1].shape == (25, 8, 8, 3)
    # GIFs have 8 greys here, the others lose a little.
    np.testing.assert_allclose(found, levels, atol=20 if ending == "gif" else 3)


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg"])
def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path, ending):
    levels = 20 + 7 * np.arange(25)
    ((start, frames),) = read(write_pictures(tmp_path / "a", greys(levels), ending))
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), levels, atol=1)
    assert start == 0


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (30, np.arange(30)),
        (10, np.arange(0, 30, 3)),
        (7.5, np.arange(0, 30, 4)),
        (60, np.arange(59) // 2),
    ],
)
def test_frame_rate(tmp_path, fps, expected):
    path = write_video(tmp_path / "a.mp4", greys(20 + 7 * np.arange(30)), fps=30)
    (found,) = levels_of(read(path, fps=fps))
    np.testing.assert_allclose(found, 20 + 7 * expected, atol=3)


def test_no_episode_crosses_a_cut(tmp_path):
    """Nor do scenes of one frame leave anything."""
    scenes = [40 + 2 * np.arange(7), 200 + 2 * np.arange(12), [10], 120 - np.arange(5)]
    path = write_video(tmp_path / "a.mp4", greys(np.concatenate(scenes)))
    episodes = read(path, max_steps=8)
    parts = [scenes[0], scenes[1][:8], scenes[1][8:], scenes[3]]
    for found, expected in zip(levels_of(episodes), parts, strict=True):
        np.testing.assert_allclose(found, expected, atol=3)
    starts = [start for start, _ in episodes]
    np.testing.assert_allclose(starts, [0, 0.7, 1.5, 2.0], atol=1e-3)


def test_a_moving_thing_is_no_cut(tmp_path):
    frames = np.zeros((20, 64, 64, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[20:40, 2 * number : 2 * number + 20] = 255
    assert len(read(write_video(tmp_path / "a.mp4", frames))) == 1


def test_a_long_pause_ends_a_scene(tmp_path):
    path = tmp_path / "a.gif"
    first, *others = (Image.fromarray(f) for f in greys([90, 100, 110, 100]))
    durations = [100, 11_000, 100, 100]
    first.save(path, save_all=True, append_images=others, duration=durations)
    found = levels_of(read(path))
    assert [len(levels) for levels in found] == [2, 2]


def test_frames_fill_the_size_and_are_cut_off_evenly(tmp_path):
    frames = np.zeros((4, 60, 120, 3), np.uint8)
    frames[:, :, :28] = frames[:, :, -28:] = 255
    for path in (
        write_video(tmp_path / "a.mp4", frames),
        write_pictures(tmp_path / "b", frames),
    ):
        ((_, wide),) = read(path, height=30, width=60)
        assert wide.shape == (4, 30, 60, 3)
        assert wide[:, :, [0, -1]].min() > 200
        ((_, square),) = read(path, height=15, width=15)
        assert square.shape == (4, 15, 15, 3)
        assert square.max() < 30


def test_videos_of_a_telephone_are_upright(tmp_path):
    frames = np.zeros((4, 32, 64, 3), np.uint8)
    frames[:, :, :32] = 255
    lying = write_video(tmp_path / "a.mp4", frames)
    path = tmp_path / "b.mp4"
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    rotated = ["-metadata:s:v", "rotate=90", "-c", "copy", path]
    subprocess.run([ffmpeg, "-v", "error", "-i", lying, *rotated], check=True)
    ((_, upright),) = read(path, height=64, width=32)
    # FFmpeg shows it turned counterclockwise: what was left is below.
    assert upright[:, 36:].min() > 200
    assert upright[:, :28].max() < 30


def test_memory_is_that_of_the_small_frames(tmp_path):
    """Of a 4K video no frame ever is in memory in full colour."""
    path = write_video(tmp_path / "a.mp4", greys(range(20, 30), 2160, 3840))
    tracemalloc.start()
    (found,) = levels_of(read(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(found, range(20, 30), atol=3)
    assert peak < 1_000_000


def test_what_breaks_off_is_used_up_to_there(tmp_path):
    folder = write_pictures(tmp_path / "a", greys(range(20, 30)))
    (folder / "frame6.png").write_bytes(b"nothing")
    episodes = read_episodes(folder, max_steps=4, **FORM)
    np.testing.assert_array_equal(next(episodes)[1][:, 0, 0, 0], range(20, 24))
    np.testing.assert_array_equal(next(episodes)[1][:, 0, 0, 0], [24, 25])
    with pytest.raises(ValueError, match=r"^frame6.png cannot be read as a picture$"):
        next(episodes)


@pytest.fixture
def folder(tmp_path):
    """Five good videos, each of two scenes; some bad ones, and what is no video."""
    folder = tmp_path / "videos"
    (folder / "below").mkdir(parents=True)
    frames = greys([*range(40, 60), *range(200, 220)])
    for name in ("a.mp4", "b.webm", "below/c.avi", "below/d.MP4"):
        path = folder / name
        write_video(path.with_suffix(path.suffix.lower()), frames).rename(path)
    write_pictures(folder / "e", frames)
    write_video(folder / "one.mp4", frames[:1])
    whole = (folder / "a.mp4").read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.webm").touch()
    (folder / "text.mp4").write_text("no video at all\n" * 1000)
    # FFmpeg would go to wherever such a list says.
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
    "one.mp4": "no scene has two frames at 10 a second",
    "half.mp4": BROKEN,
    "empty.webm": BROKEN,
    "text.mp4": BROKEN,
    "list.mp4": BROKEN,
    "sound.mp4": "it has no pictures",
    "notes.txt": "its ending is none of .avi, .gif, .jpeg, .jpg, .m4v, .mkv, .mov, "
    ".mp4, .png, .webm",
}


def test_videos_are_found_wherever_they_are(folder):
    found, others = find_videos(folder)
    assert set(found) == GOOD | set(BAD) - {"notes.txt"}
    assert others == ["notes.txt"]


def test_what_cannot_be_used_is_left_out_and_nothing_else(folder):
    splits, skipped = split_videos(folder, **FORM)
    assert skipped == BAD
    assert {split: len(names) for split, names in splits.items()} == {
        **{"train": 3, "validation": 1, "test": 1}
    }
    assert set.union(*map(set, splits.values())) == GOOD
    assert split_videos(folder, **FORM) == (splits, skipped)


def test_a_folder_without_enough_videos(tmp_path):
    with pytest.raises(ValueError) as error:
        split_videos(tmp_path, **FORM)
    assert str(error.value) == (
        f"Training, validation and test need a video each, and {tmp_path} has 0 that "
        "can be used."
    )
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_text("no video")
    with pytest.raises(ValueError) as error:
        split_videos(tmp_path, **FORM)
    assert str(error.value).endswith(
        f"has 0 that can be used (0.mp4: {BROKEN}; 1.mp4: {BROKEN}; 2.mp4: {BROKEN}; "
        "...)."
    )


def test_the_dataset_is_read_as_any_other(folder, tmp_path):
    splits, skipped = split_videos(folder, **FORM)
    # Breaks off, but only after two frames.
    (folder / "e" / "frame30.png").write_bytes(b"nothing")
    config = VideoFolderConfig(
        name="mine",
        description="Videos for tests.",
        folder=folder,
        splits=splits,
        skipped=skipped,
        max_steps=16,
        **FORM,
    )
    builder = Builder(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
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
    assert builder.info.splits.total_num_examples == 4 * 4 + 3

    for split in splits:
        batches = clip_batches(
            *("video_folder/mine", split),
            **{"clip_length": 4, "batch_size": 2, "seed": 0, "data_dir": tmp_path},
        )
        video = next(batches)["video"]
        batches.close()
        assert video.shape == (2, 4, 8, 8, 3)
        steps = np.diff(video.mean(axis=(2, 3, 4)), axis=1)
        # The frames are 1 brighter each, and the second scene 140: a little is lost.
        np.testing.assert_allclose(steps, 1, atol=3)
