import contextlib
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageSequence

from genie_tf import media


def game_video(time=6):
    """A square that moves over a shaded landscape: flat areas, edges, gradients."""
    y, x = np.mgrid[0:48, 0:64]
    sky = np.stack([120 - y, 160 + y, 255 - x // 2], axis=-1)
    ground = np.stack([90 + (x * y) % 31, 60 + x // 3, 30 + y], axis=-1)
    video = np.tile(np.where(y[..., None] < 32, sky, ground), (time, 1, 1, 1))
    for t in range(time):
        video[t, 22:32, 5 + 6 * t : 15 + 6 * t] = (230, 40, 60)
    return video.astype("uint8")


def read_gif(path):
    with Image.open(path) as image:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        return np.stack([np.asarray(frame) for frame in frames])


def read_durations(path):
    with Image.open(path) as image:
        return [frame.info["duration"] for frame in ImageSequence.Iterator(image)]


def read_mp4(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack(
        [np.frombuffer(frame, "uint8").reshape(height, width, 3) for frame in reader]
    )


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

    def test_mp4_without_its_package(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        with pytest.raises(ImportError, match=r"pip install genie_tf\[mp4\]"):
            media.save_mp4(tmp_path / "a.mp4", game_video())
        assert files_in(tmp_path) == []

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
            with pytest.raises(ValueError, match=f"must be positive; received {fps}"):
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
    @pytest.mark.parametrize(
        ("name", "mode"),
        [
            *[("a.png", mode) for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")],
            *[("a.gif", mode) for mode in ("RGB", "RGBA", "P", "L", "LA", "1")],
        ],
    )
    def test_any_mode_becomes_rgb(self, tmp_path, name, mode):
        grey = np.repeat(np.array([[0, 255], [255, 0], [0, 0]], "uint8"), 3, axis=1)
        if mode == "I;16":
            image = Image.fromarray(grey.astype("uint16") * 257)
        else:
            image = Image.fromarray(grey).convert(mode)
        image.save(tmp_path / name)
        frame = media.load_prompt_image(tmp_path / name, 3, 6)
        assert frame.dtype == "uint8"
        np.testing.assert_array_equal(frame, np.stack([grey] * 3, axis=-1))

    def test_colours_and_orientation(self, tmp_path):
        frame = game_video()[0]
        Image.fromarray(frame).save(tmp_path / "a.png")
        np.testing.assert_array_equal(
            media.load_prompt_image(tmp_path / "a.png", 48, 64), frame
        )
        Image.fromarray(frame).save(tmp_path / "a.jpg", quality=95)
        read = media.load_prompt_image(tmp_path / "a.jpg", 48, 64)
        assert mean_error(read, frame) < 4

    def test_cmyk_jpeg(self, tmp_path):
        image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        image.save(tmp_path / "a.jpg", quality=95)
        frame = media.load_prompt_image(tmp_path / "a.jpg", 8, 8)
        assert mean_error(frame, np.full((8, 8, 3), (255, 0, 0))) < 8

    def test_transparent_becomes_black(self, tmp_path):
        pixels = np.full((2, 2, 4), 200, "uint8")
        pixels[..., 3] = [[0, 255], [128, 255]]
        Image.fromarray(pixels).save(tmp_path / "a.png")
        frame = media.load_prompt_image(tmp_path / "a.png", 2, 2)
        np.testing.assert_array_equal(frame[..., 0], [[0, 200], [100, 200]])

    def test_first_frame_of_a_gif(self, tmp_path):
        media.save_gif(tmp_path / "a.gif", game_video())
        frame = media.load_prompt_image(tmp_path / "a.gif", 48, 64)
        np.testing.assert_array_equal(frame, read_gif(tmp_path / "a.gif")[0])

    @pytest.mark.parametrize("open_source", [str, Path, Path.read_bytes, Path.open])
    def test_sources(self, tmp_path, open_source):
        path = tmp_path / "a.png"
        Image.fromarray(game_video()[0]).save(path)
        source = path.open("rb") if open_source is Path.open else open_source(path)
        frame = media.load_prompt_image(source, 48, 64)
        np.testing.assert_array_equal(frame, game_video()[0])

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_photos_are_turned_upright(self, orientation):
        """Each orientation is a way to store the same picture, by EXIF's table."""
        upright = game_video()[0]
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        image = Image.fromarray(np.ascontiguousarray(stored))
        for kind in ("PNG", "JPEG"):
            photo = encoded(image, kind, exif=exif, quality=95)
            assert mean_error(media.load_prompt_image(photo, 48, 64), upright) < 4

    def test_large_photos_are_averaged(self):
        """A chequerboard of single pixels, of which a frame can show the mean alone."""
        pixels = np.indices((640, 640)).sum(axis=0) % 2 * 200
        photo = encoded(Image.fromarray(pixels.astype("uint8")), "PNG")
        frame = media.load_prompt_image(photo, 64, 64)
        assert np.abs(frame.astype(int) - 100).max() <= 1

    def test_crop_cuts_the_middle_out(self):
        """Five stripes; what covers a square is the three in the middle."""
        wide = np.zeros((60, 100, 3), "uint8")
        colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
        for index, colour in enumerate(colours):
            wide[:, 20 * index : 20 * index + 20] = colour
        for stripes, turn in ((wide, 0), (np.rot90(wide), 1)):
            photo = encoded(Image.fromarray(np.ascontiguousarray(stripes)), "PNG")
            for height, width in ((30, 30), (60, 60), (120, 120)):
                frame = media.load_prompt_image(photo, height, width)
                row = np.rot90(frame, -turn)[height // 2]
                third = width // 3
                centres = row[[third // 2, third + third // 2, 2 * third + third // 2]]
                np.testing.assert_array_equal(centres, colours[1:4])

    @pytest.mark.parametrize(
        ("size", "scaled", "corner"),
        [
            ((100, 50), (64, 32), (0, 16)),
            ((50, 100), (32, 64), (16, 0)),
            ((16, 8), (64, 32), (0, 16)),
            ((64, 64), (64, 64), (0, 0)),
            ((1000, 1), (64, 1), (0, 31)),
        ],
    )
    def test_pad_shows_all_of_it_on_black(self, size, scaled, corner):
        photo = encoded(Image.new("RGB", size, (90, 200, 30)), "PNG")
        frame = media.load_prompt_image(photo, 64, 64, fit="pad")
        expected = np.zeros((64, 64, 3), "uint8")
        (left, top), (width, height) = corner, scaled
        expected[top : top + height, left : left + width] = (90, 200, 30)
        np.testing.assert_array_equal(frame, expected)

    def test_fits_are_pillows(self):
        """Against the same done by hand."""
        image = Image.fromarray(game_video()[0])
        method = Image.Resampling.LANCZOS
        cut = image.resize((24, 24), method, box=(8, 0, 56, 48))
        frame = media.load_prompt_image(encoded(image, "PNG"), 24, 24)
        np.testing.assert_array_equal(frame, cut)
        frame = media.load_prompt_image(encoded(image, "PNG"), 24, 24, fit="pad")
        np.testing.assert_array_equal(frame[3:21], image.resize((24, 18), method))
        assert not frame[:3].any() and not frame[21:].any()

    def test_what_is_transparent_leaves_no_colour_behind(self):
        pixels = np.full((64, 64, 4), (255, 0, 0, 0), "uint8")
        pixels[:, 32:] = (0, 0, 255, 255)
        photo = encoded(Image.fromarray(pixels), "PNG")
        for fit in media.FITS:
            assert not media.load_prompt_image(photo, 16, 16, fit)[..., 0].any()

    def test_an_unknown_fit_is_refused(self):
        with pytest.raises(ValueError) as error:
            media.load_prompt_image(b"", 8, 8, fit="stretch")
        assert str(error.value) == "`fit` must be one of crop, pad; received stretch."

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
    def test_cut_off_images_are_refused(self, kind):
        whole = encoded(Image.fromarray(game_video()[0]), kind)
        for length in (0, 1, 10, 30, len(whole) // 2, len(whole) - 30):
            refused_as_unreadable(whole[:length])

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
    def test_damaged_images_are_read_or_refused(self, kind):
        whole = encoded(Image.fromarray(game_video()[0]), kind)
        rng = np.random.default_rng(0)
        for _ in range(100):
            damaged = np.frombuffer(whole, "uint8").copy()
            damaged[rng.integers(len(whole), size=4)] = rng.integers(256, size=4)
            with contextlib.suppress(ValueError):
                frame = media.load_prompt_image(damaged.tobytes(), 8, 8)
                assert frame.shape == (8, 8, 3)

    @pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "PPM"])
    def test_other_formats_are_refused(self, kind):
        refused_as_unreadable(encoded(Image.fromarray(game_video()[0]), kind))

    def test_an_error_of_any_kind_in_a_decoder_is_told(self, monkeypatch):
        def fail(image):
            raise struct.error("unpack requires a buffer of 4 bytes")

        monkeypatch.setattr(media, "_to_rgba", fail)
        refused_as_unreadable(png_header(8, 8))

    def test_files_that_cannot_be_read(self, tmp_path):
        (tmp_path / "text.png").write_text("no image")
        for path, message in (
            (tmp_path / "none.png", f"There is no prompt image {tmp_path}/none.png."),
            (tmp_path, f"The prompt image {tmp_path} cannot be read: Is a directory."),
            (
                tmp_path / "text.png",
                f"The prompt must be a PNG, JPEG or GIF image; {tmp_path}/text.png "
                "cannot be read as one.",
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

        for source in (Endless(), bytes(16 * 2**20 + 1), "/dev/zero"):
            with pytest.raises(ValueError, match="A prompt image may have 16 MiB; .*"):
                media.load_prompt_image(source, 8, 8)

    @pytest.mark.parametrize(
        "size", [(8001, 5000), (10_000, 9_500), (2**31 - 1, 2**31 - 1), (1, 65_536)]
    )
    def test_too_many_pixels_are_not_decoded(self, size, monkeypatch, recwarn):
        gif = bytearray(encoded(Image.new("L", (8, 8)), "GIF"))
        gif[6:10] = struct.pack("<HH", *(min(side, 65_535) for side in size))
        headers = [png_header(*size)] + [bytes(gif)] * (min(size) > 1)
        monkeypatch.setattr(media, "_to_rgba", None)
        for header in headers:
            with pytest.raises(ValueError) as error:
                media.load_prompt_image(header, 8, 8)
            assert str(error.value) == (
                "A prompt image may have 40 million pixels, and sides of 65,535; it has "
                "more."
            )
        assert not recwarn.list

    def test_the_largest_are_read(self):
        image = Image.new("1", (8000, 5000), 1)
        frame = media.load_prompt_image(encoded(image, "PNG"), 8, 8)
        np.testing.assert_array_equal(frame, np.full((8, 8, 3), 255))


def encoded(image, kind, **settings):
    """An image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def png_header(width, height):
    """A PNG that claims a size and has no pixels."""
    content = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", content), (b"IDAT", b""), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def refused_as_unreadable(content):
    with pytest.raises(ValueError) as error:
        media.load_prompt_image(content, 48, 64)
    assert str(error.value) == (
        "The prompt must be a PNG, JPEG or GIF image; it cannot be read as one."
    )


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
    heavy = {"tensorflow", "keras", "matplotlib", "imageio_ffmpeg"}
    assert not heavy & set(json.loads(output))
