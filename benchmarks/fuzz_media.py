"""Counts how damaged videos and pictures end: each is used or refused, none may crash.

python benchmarks/fuzz_media.py --files=500    # half a minute on a CPU

Makes a small file of each kind, and flips bytes of copies, cuts them off, or repeats a
part. Ends with code 1 if one is neither used nor refused in a sentence, or crashes its
decoder, which costs `genie-videos` that file.
"""

import collections
import io
import pathlib
import sys
import tempfile
import time

import av
import numpy as np
from absl import app, flags
from PIL import Image

from genie_tf.media.decoding import decode_image, decode_video

FLAGS = flags.FLAGS
flags.DEFINE_integer("files", 500, "How many to try.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Chooses the damage.")

_VIDEOS = {
    "h264.mp4": ("libx264", "yuv420p"),
    "h265.mp4": ("libx265", "yuv420p10le"),
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "mjpeg.avi": ("mjpeg", "yuvj420p"),
    "ffv1.mkv": ("ffv1", "yuva420p"),
    "h264.mkv": ("libx264", "yuv420p"),
    "vp9.webm": ("libvpx-vp9", "yuva420p"),
    "av1.webm": ("libsvtav1", "yuv420p"),
    "prores.mov": ("prores_ks", "yuva444p10le"),
    "animation.mov": ("qtrle", "argb"),
    "gif.gif": ("gif", "rgb8"),
}
_PICTURES = {
    "rgb.png": ("PNG", "RGB", {}),
    "palette.png": ("PNG", "P", {}),
    "baseline.jpg": ("JPEG", "RGB", {}),
    "progressive.jpg": ("JPEG", "CMYK", {"progressive": True}),
}


def make_seeds() -> dict[str, bytes]:
    """Make a good file of each kind, by its name."""
    y, x = np.mgrid[:64, :64]
    frames = [
        np.stack([x * 4, y * 4, x * 0 + 9 * t], -1).astype(np.uint8) for t in range(12)
    ]
    seeds = {}
    for name, (codec, pixels) in _VIDEOS.items():
        file = io.BytesIO()
        form = {".mkv": "matroska"}.get(pathlib.Path(name).suffix, name.split(".")[1])
        with av.open(file, "w", format=form) as container:
            stream = container.add_stream(codec, 10)
            stream.width = stream.height = 64
            stream.pix_fmt = pixels
            for frame in frames:
                frame = av.VideoFrame.from_ndarray(frame, "rgb24")
                container.mux(stream.encode(frame.reformat(format=pixels)))
            container.mux(stream.encode())
        seeds[name] = file.getvalue()
    for name, (kind, mode, settings) in _PICTURES.items():
        file = io.BytesIO()
        Image.fromarray(frames[5]).convert(mode).save(file, kind, **settings)
        seeds[name] = file.getvalue()
    return seeds


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip some bytes, most of them near the beginning; or cuts off; or repeats."""
    damaged = bytearray(content)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(damaged[: rng.integers(len(damaged))])
    if kind == 1:
        start, end = sorted(rng.integers(len(damaged), size=2))
        return bytes(damaged[:end] + damaged[start:])
    places = rng.integers(len(damaged), size=rng.integers(1, 9))
    if kind == 2:
        places %= 1000
    for place in places[places < len(damaged)]:
        damaged[place] = rng.integers(256)
    return bytes(damaged)


def outcome(path: pathlib.Path) -> str:
    """Decode a file: "used", "used in part" or "refused"; or, if not, what happens."""
    count = 0
    try:
        if path.suffix in (".png", ".jpg"):
            decode_image(path, 8, 8)
        else:
            for _ in decode_video(path, 8, 8):
                count += 1
    except ValueError as error:
        if str(error).startswith(("decoding it crashes", "decoding it fails")):
            return str(error)
        return "used in part" if count else "refused"
    except Exception as error:
        return repr(error)
    return "used"


def fuzz(files: int, seed: int) -> collections.Counter:
    """Try damaged files; returns how often each outcome came."""
    rng = np.random.default_rng(seed)
    seeds = make_seeds()
    names = sorted(seeds)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            name = names[number % len(names)]
            path = pathlib.Path(folder, f"{number}_{name}")
            path.write_bytes(damage(seeds[name], rng))
            found = outcome(path)
            counts[found] += 1
            if found not in ("used", "used in part", "refused"):
                print(f"{path.name}: {found}")
            path.unlink()
    return counts


def main(_) -> None:
    start = time.time()
    counts = fuzz(FLAGS.files, FLAGS.seed)
    for name, count in counts.most_common():
        print(f"{count:5} {name}")
    print(f"PyAV {av.__version__}, {time.time() - start:.0f} s")
    sys.exit(bool(set(counts) - {"used", "used in part", "refused"}))


if __name__ == "__main__":
    app.run(main)
