import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genie_tf import media
from genie_tf.testing.game_video import game_video


@pytest.mark.parametrize("open_source", [str, Path, Path.read_bytes, Path.open])
def test_any_source_is_read(tmp_path, open_source):
    path = tmp_path / "a.png"
    Image.fromarray(game_video()[0]).save(path)
    source = path.open("rb") if open_source is Path.open else open_source(path)
    frame = media.load_prompt_image(source, 48, 64)
    np.testing.assert_array_equal(frame, game_video()[0])


def test_unreadable_files_are_reported(tmp_path):
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


def test_oversized_content_is_not_read():
    class Endless(io.RawIOBase):
        def read(self, size):
            assert size == 16 * 2**20 + 1
            return bytes(size)

    for source in (Endless(), bytes(16 * 2**20 + 1)):
        with pytest.raises(ValueError, match="it is larger than 16 MiB.$"):
            media.load_prompt_image(source, 8, 8)


def test_unknown_fit_is_rejected():
    with pytest.raises(ValueError) as error:
        media.load_prompt_image(b"", 8, 8, fit="stretch")
    assert str(error.value) == "`fit` must be one of crop, pad; received stretch."
