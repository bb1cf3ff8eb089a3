import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

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


class TestVideos:
    def test_gif_keeps_colours_frames_and_speed(self, tmp_path):
        media.save_gif(tmp_path / "a.gif", game_video(), fps=8)
        frames = read_gif(tmp_path / "a.gif")
        assert frames.shape == (6, 48, 64, 3)
        assert mean_error(frames, game_video()) < 3
        # The moving square is where it was, in its own colour.
        for t in range(6):
            assert mean_error(frames[t, 24, 6 + 6 * t], np.array([230, 40, 60])) < 8
        # 12.5 hundredths of a second each, which a GIF can't say.
        assert sum(read_durations(tmp_path / "a.gif")) == 6 * 1000 / 8
        assert set(read_durations(tmp_path / "a.gif")) == {120, 130}

    def test_gif_of_few_colours_is_exact(self, tmp_path):
        video = np.zeros((3, 16, 16, 3), "uint8")
        for t in range(3):
            video[t, t : t + 4, :8] = (255, 0, 40 * t)
            video[t, 8:, t : t + 4] = (1, 2, 3)
        media.save_gif(tmp_path / "a.gif", video)
        np.testing.assert_array_equal(read_gif(tmp_path / "a.gif"), video)

    def test_frames_that_stand_still_keep_their_time(self, tmp_path):
        media.save_gif(tmp_path / "a.gif", game_video()[[0, 0, 0, 1, 1]], fps=10)
        assert read_durations(tmp_path / "a.gif") == [300, 200]

    def test_mp4_can_be_read_back(self, tmp_path):
        media.save_mp4(tmp_path / "a.mp4", game_video(), fps=10)
        frames = read_mp4(tmp_path / "a.mp4")
        assert frames.shape == (6, 48, 64, 3)
        assert mean_error(frames, game_video()) < 6

    def test_mp4_of_odd_size_is_padded(self, tmp_path):
        media.save_mp4(tmp_path / "a.mp4", game_video()[:, :33, :35])
        assert read_mp4(tmp_path / "a.mp4").shape == (6, 34, 36, 3)

    @pytest.mark.parametrize("fps", [0.5, 10, 12.5, 29.97, 1000])
    def test_mp4_keeps_speed_and_says_its_colors(self, tmp_path, fps):
        media.save_mp4(tmp_path / "a.mp4", game_video(), fps)
        with av.open(str(tmp_path / "a.mp4")) as container:
            times = [frame.time for frame in container.decode(video=0)]
            about = container.streams.video[0].codec_context
            assert (about.colorspace, about.color_range) == (1, 1)
            assert (about.color_primaries, about.color_trc) == (1, 1)
        np.testing.assert_allclose(times, np.arange(6) / fps, atol=1e-4)

    def test_mp4_without_its_package(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        sentence = r"^Writing MP4 needs PyAV: pip install genie_tf\[mp4\].$"
        with pytest.raises(ImportError, match=sentence):
            media.save_mp4(tmp_path / "a.mp4", game_video())
        with pytest.raises(ValueError, match=sentence):
            media.check_video_path(tmp_path / "a.mp4")
        assert files_in(tmp_path) == []

    @pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.png"])
    def test_what_is_no_number_is_refused(self, tmp_path, name):
        video = game_video() / 255
        video[0, 0, 0, 0] = np.nan
        with pytest.raises(ValueError, match="must have finite numbers"):
            media.save_video(tmp_path / name, video)
        assert files_in(tmp_path) == []

    @pytest.mark.parametrize("size", [0, 100, 1000])
    @pytest.mark.parametrize(
        "name", ["a.gif", "a.mp4", "a.png", "grid.png", "curves.png"]
    )
    def test_on_a_full_disk_the_old_file_stays(self, tmp_path, name, size):
        (tmp_path / name).write_text("old")
        kind, before = resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(kind, (size, before[1]))
        try:
            with pytest.raises(OSError, match="File too large: '.*/" + name):
                if name == "grid.png":
                    media.save_image_grid(tmp_path / name, [game_video()])
                elif name == "curves.png":
                    media.plot_curves(tmp_path / name, TestCurves.RECORDS)
                else:
                    media.save_video(tmp_path / name, game_video())
        finally:
            resource.setrlimit(kind, before)
        assert (tmp_path / name).read_text() == "old"
        assert files_in(tmp_path) == [name]

    def test_strip_shows_the_frames_side_by_side(self, tmp_path):
        media.save_strip(tmp_path / "a.png", game_video(3))
        strip = np.asarray(Image.open(tmp_path / "a.png"))
        assert strip.shape == (48, 3 * 64, 3)
        np.testing.assert_array_equal(strip[:, 64:128], game_video(3)[1])

    @pytest.mark.parametrize("name", ["a.gif", "b.mp4", "c.png", "D.GIF"])
    def test_save_video_goes_by_the_name(self, tmp_path, name):
        media.check_video_path(tmp_path / "made" / name)
        media.save_video(tmp_path / "made" / name, game_video(), fps=5)
        formats = {"gif": b"GIF8", "png": b"\x89PNG", "mp4": b"ftyp"}
        head = (tmp_path / "made" / name).read_bytes()[:12]
        assert formats[name[2:].lower()] in head
        assert files_in(tmp_path / "made") == [name]

    @pytest.mark.parametrize("name", ["a.avi", "gif"])
    def test_other_names_are_refused(self, tmp_path, name):
        with pytest.raises(ValueError, match=f".gif, .mp4 or .png; received .*{name}"):
            media.save_video(tmp_path / name, game_video())
        with pytest.raises(ValueError, match=f".gif, .mp4 or .png; received .*{name}"):
            media.check_video_path(tmp_path / name)
        assert files_in(tmp_path) == []

    def test_floats_are_the_same_as_bytes(self, tmp_path):
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
    def test_bad_videos_are_refused(self, tmp_path, name, video, received):
        with pytest.raises(ValueError, match=f"A video must be .* received {received}"):
            media.save_video(tmp_path / name, video)
        assert files_in(tmp_path) == []

    @pytest.mark.parametrize("fps", [0, -1, 51])
    def test_bad_speeds_are_refused(self, tmp_path, fps):
        with pytest.raises(ValueError, match=rf"in \(0, 50\]; received {fps}"):
            media.save_gif(tmp_path / "a.gif", game_video(), fps)
        if fps <= 0:
            with pytest.raises(ValueError, match=f"1000\\]; received {fps}"):
                media.save_mp4(tmp_path / "a.mp4", game_video(), fps)


class TestGrid:
    def test_clips_are_enlarged_and_in_place(self):
        a, b, c, d = (np.full((5, 4, 6, 3), 40 * i, "uint8") for i in range(4))
        a[2, 1, 3] = (9, 8, 7)
        video = media.grid([[a, b], [c, d]], scale=3)
        assert video.shape == (5, 2 * 12 + 2, 2 * 18 + 2, 3)
        for clip, top, left in ((a, 0, 0), (b, 0, 20), (c, 14, 0), (d, 14, 20)):
            cell = video[:, top : top + 12, left : left + 18]
            for y in range(3):
                for x in range(3):
                    np.testing.assert_array_equal(cell[:, y::3, x::3], clip)
        assert (video[:, 12:14] == 255).all()

    def test_labels_are_written_left_of_their_rows(self):
        rows = [game_video(), game_video(), game_video()]
        video = media.grid(rows, labels=["true", "", "predicted"], scale=2)
        margin = video.shape[2] - 2 * 64
        assert margin > 40
        for index, clip in enumerate(rows):
            top = index * (2 * 48 + 2)
            cell = video[:, top : top + 96, margin:]
            np.testing.assert_array_equal(cell[:, ::2, ::2], clip)
            written = (video[:, top : top + 96, :margin] < 128).any(axis=(1, 2, 3))
            assert written.all() if index != 1 else not written.any()

    def test_columns_are_named_above(self):
        rows = [[game_video(), 255 - game_video()]] * 2
        video = media.grid(rows, ["a", "b"], 2, columns=["", "right"])
        margin = video.shape[2] - 2 * (2 * 64 + 2) + 2
        above = video.shape[1] - 2 * (2 * 48 + 2) + 2
        np.testing.assert_array_equal(video[:, above:], media.grid(rows, ["a", "b"], 2))
        heading = (video[:, :above] < 128).any(axis=(0, 1, 3))
        assert heading[margin + 130 :].any() and not heading[: margin + 130].any()

    def test_bytes_and_floats_may_meet(self):
        floats = game_video().astype("float32") / 255
        video = media.grid([[game_video(), floats]], scale=1)
        np.testing.assert_array_equal(video[:, :, :64], video[:, :, 66:])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"rows": [[game_video(), game_video()], [game_video()]]},
                r"rows of \[2, 1\] videos, of shapes \(6, 48, 64, 3\)",
            ),
            (
                {"rows": [game_video(6), game_video(5)]},
                r"rows of \[1, 1\] videos, of shapes \(6, .* 3\), \(5, .* 3\)",
            ),
            ({"rows": []}, r"rows of \[\] videos"),
            (
                {"rows": [game_video()], "labels": ["a", "b"]},
                "received 2 labels for 1 rows",
            ),
            (
                {"rows": [game_video()], "columns": ["a", "b"]},
                "received 2 for 1 columns",
            ),
            ({"rows": [game_video()], "scale": 0}, "positive integer; received 0"),
            ({"rows": [game_video()], "scale": 1.5}, "positive integer; received 1.5"),
        ],
    )
    def test_bad_grids_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            media.grid(**arguments)

    def test_image_grid_has_a_row_for_each_set_of_images(self, tmp_path):
        rows = [game_video(4), 255 - game_video(4)]
        media.save_image_grid(tmp_path / "a.png", rows, scale=1)
        image = np.asarray(Image.open(tmp_path / "a.png"))
        assert image.shape == (2 * 48 + 2, 4 * 64 + 3 * 2, 3)
        np.testing.assert_array_equal(image[50:, 66 : 66 + 64], rows[1][1])


class TestPromptImage:
    @pytest.mark.parametrize("open_source", [str, Path, Path.read_bytes, Path.open])
    def test_sources(self, tmp_path, open_source):
        path = tmp_path / "a.png"
        Image.fromarray(game_video()[0]).save(path)
        source = path.open("rb") if open_source is Path.open else open_source(path)
        frame = media.load_prompt_image(source, 48, 64)
        np.testing.assert_array_equal(frame, game_video()[0])

    def test_files_that_cannot_be_read(self, tmp_path):
        (tmp_path / "text.png").write_text("no image")
        pipe = tmp_path / "pipe.png"
        os.mkfifo(pipe)
        for path, message in (
            (tmp_path / "none.png", f"There is no prompt image {tmp_path}/none.png."),
            (
                tmp_path,
                f"The prompt image {tmp_path} cannot be read: It is not a regular file.",
            ),
            (
                pipe,
                f"The prompt image {pipe} cannot be read: It is not a regular file.",
            ),
            (
                "/dev/zero",
                "The prompt image /dev/zero cannot be read: It is not a regular file.",
            ),
            (
                tmp_path / "text.png",
                f"The prompt image {tmp_path}/text.png cannot be used: it cannot be read "
                "as a PNG, JPEG or GIF image.",
            ),
            (
                "gs://bucket/a.png",
                "Expected a path on this machine; received 'gs://bucket/a.png'. "
                "Addresses that start with gs:// are not supported: copy the files here, "
                "or mount them.",
            ),
        ):
            with pytest.raises(ValueError) as error:
                media.load_prompt_image(path, 8, 8)
            assert str(error.value) == message

    def test_too_many_bytes_are_not_even_read(self):
        class Endless(io.RawIOBase):
            def read(self, size):
                assert size == 16 * 2**20 + 1
                return bytes(size)

        for source in (Endless(), bytes(16 * 2**20 + 1)):
            with pytest.raises(ValueError, match="it has more than 16 MiB.$"):
                media.load_prompt_image(source, 8, 8)

    def test_an_unknown_fit_is_refused(self):
        with pytest.raises(ValueError) as error:
            media.load_prompt_image(b"", 8, 8, fit="stretch")
        assert str(error.value) == "`fit` must be one of crop, pad; received stretch."


class TestCurves:
    RECORDS = [
        {"step": 10, "loss": 3.0, "note": "first"},
        {"step": 20, "loss": 2.0, "validation/psnr": np.float32(20)},
        {"step": 30, "loss": 1.5, "validation/psnr": np.float32(22)},
    ]

    def test_one_plot_per_metric(self, tmp_path):
        media.plot_curves(tmp_path / "one.png", self.RECORDS, ["loss"])
        media.plot_curves(tmp_path / "two.png", self.RECORDS)
        one, two = (Image.open(tmp_path / name) for name in files_in(tmp_path))
        assert two.width == 2 * one.width and two.height == one.height
        assert files_in(tmp_path) == ["one.png", "two.png"]

    def test_an_unknown_metric_is_refused(self, tmp_path):
        with pytest.raises(
            ValueError, match="No record has fid; .* have loss, validation/psnr."
        ):
            media.plot_curves(tmp_path / "a.png", self.RECORDS, ["loss", "fid"])
        with pytest.raises(ValueError, match="No record has any metric"):
            media.plot_curves(tmp_path / "a.png", [])
        assert files_in(tmp_path) == []


def test_importing_loads_no_framework():
    listing = "import json, sys, genie_tf.media; print(json.dumps(list(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, check=True, text=True
    ).stdout
    heavy = {"tensorflow", "keras", "matplotlib", "av"}
    assert not heavy & set(json.loads(output))
