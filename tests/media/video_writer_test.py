import sys

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from genie_tf import media
from genie_tf.testing.game_video import game_video


def read_gif(path):
    with Image.open(path) as image:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        return np.stack([np.asarray(frame) for frame in frames])


def read_durations(path):
    with Image.open(path) as image:
        return [frame.info["duration"] for frame in ImageSequence.Iterator(image)]


def read_mp4(path):
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def mean_error(a, b):
    return np.abs(a.astype("int32") - b.astype("int32")).mean()


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_gif_keeps_colors_frames_and_speed(tmp_path):
    media.save_gif(tmp_path / "a.gif", game_video(), fps=8)
    frames = read_gif(tmp_path / "a.gif")
    assert frames.shape == (6, 48, 64, 3)
    assert mean_error(frames, game_video()) < 3
    # The moving square keeps its place and color.
    for t in range(6):
        assert mean_error(frames[t, 24, 6 + 6 * t], np.array([230, 40, 60])) < 8
    # Each frame lasts 12.5 hundredths of a second, which a GIF cannot store.
    assert sum(read_durations(tmp_path / "a.gif")) == 6 * 1000 / 8
    assert set(read_durations(tmp_path / "a.gif")) == {120, 130}


def test_gif_with_few_colors_is_exact(tmp_path):
    video = np.zeros((3, 16, 16, 3), "uint8")
    for t in range(3):
        video[t, t : t + 4, :8] = (255, 0, 40 * t)
        video[t, 8:, t : t + 4] = (1, 2, 3)
    media.save_gif(tmp_path / "a.gif", video)
    np.testing.assert_array_equal(read_gif(tmp_path / "a.gif"), video)


def test_repeated_frames_keep_their_time(tmp_path):
    media.save_gif(tmp_path / "a.gif", game_video()[[0, 0, 0, 1, 1]], fps=10)
    assert read_durations(tmp_path / "a.gif") == [300, 200]


def test_mp4_can_be_read_back(tmp_path):
    media.save_mp4(tmp_path / "a.mp4", game_video(), fps=10)
    frames = read_mp4(tmp_path / "a.mp4")
    assert frames.shape == (6, 48, 64, 3)
    assert mean_error(frames, game_video()) < 6


def test_mp4_of_odd_size_is_padded(tmp_path):
    media.save_mp4(tmp_path / "a.mp4", game_video()[:, :33, :35])
    assert read_mp4(tmp_path / "a.mp4").shape == (6, 34, 36, 3)


@pytest.mark.parametrize("fps", [0.5, 10, 12.5, 29.97, 1000])
def test_mp4_keeps_speed_and_declares_colors(tmp_path, fps):
    media.save_mp4(tmp_path / "a.mp4", game_video(), fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
        about = container.streams.video[0].codec_context
        assert (about.colorspace, about.color_range) == (1, 1)
        assert (about.color_primaries, about.color_trc) == (1, 1)
    np.testing.assert_allclose(times, np.arange(6) / fps, atol=1e-4)


def test_mp4_without_pyav_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    sentence = r"^Writing MP4 needs PyAV: pip install genie_tf\[mp4\].$"
    with pytest.raises(ImportError, match=sentence):
        media.save_mp4(tmp_path / "a.mp4", game_video())
    with pytest.raises(ValueError, match=sentence):
        media.check_video_path(tmp_path / "a.mp4")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.png"])
def test_nan_is_rejected(tmp_path, name):
    video = game_video() / 255
    video[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="must have finite numbers"):
        media.save_video(tmp_path / name, video)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["a.gif", "b.mp4", "c.png", "D.GIF"])
def test_save_video_uses_extension(tmp_path, name):
    media.check_video_path(tmp_path / "made" / name)
    media.save_video(tmp_path / "made" / name, game_video(), fps=5)
    formats = {"gif": b"GIF8", "png": b"\x89PNG", "mp4": b"ftyp"}
    head = (tmp_path / "made" / name).read_bytes()[:12]
    assert formats[name[2:].lower()] in head
    assert files_in(tmp_path / "made") == [name]


@pytest.mark.parametrize("name", ["a.avi", "gif"])
def test_other_extensions_are_rejected(tmp_path, name):
    with pytest.raises(ValueError, match=f".gif, .mp4 or .png; received .*{name}"):
        media.save_video(tmp_path / name, game_video())
    with pytest.raises(ValueError, match=f".gif, .mp4 or .png; received .*{name}"):
        media.check_video_path(tmp_path / name)
    assert files_in(tmp_path) == []


def test_floats_equal_bytes(tmp_path):
    floats = game_video().astype("float32") / 255
    media.save_strip(tmp_path / "bytes.png", game_video())
    media.save_strip(tmp_path / "floats.png", floats)
    media.save_strip(tmp_path / "clipped.png", np.where(floats > 0.9, 7, floats))
    read = [np.asarray(Image.open(tmp_path / name)) for name in files_in(tmp_path)]
    np.testing.assert_array_equal(read[0], read[2])
    assert (read[1] == np.where(read[0] > 0.9 * 255, 255, read[0])).all()


@pytest.mark.parametrize(
    ("video", "received"),
    [
        (game_video()[0], r"uint8 of shape \(48, 64, 3\)"),
        (game_video()[..., :1], r"uint8 of shape \(6, 48, 64, 1\)"),
        (game_video()[:0], r"uint8 of shape \(0, 48, 64, 3\)"),
        (game_video().astype("int32"), "int32 of shape"),
        (game_video().astype("uint16"), "uint16 of shape"),
    ],
)
@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.png"])
def test_invalid_videos_are_rejected(tmp_path, name, video, received):
    with pytest.raises(ValueError, match=f"A video must be .* received {received}"):
        media.save_video(tmp_path / name, video)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("fps", [0, -1, 51])
def test_invalid_fps_is_rejected(tmp_path, fps):
    with pytest.raises(ValueError, match=rf"in \(0, 50\]; received {fps}"):
        media.save_gif(tmp_path / "a.gif", game_video(), fps)
    if fps <= 0:
        with pytest.raises(ValueError, match=f"1000\\]; received {fps}"):
            media.save_mp4(tmp_path / "a.mp4", game_video(), fps)
