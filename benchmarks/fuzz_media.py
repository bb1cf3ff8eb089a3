"""Decode damaged videos and images, and count the outcomes.

python benchmarks/fuzz_media.py --files=500    # half a minute on a CPU

Makes a small file of each kind, and in copies changes bytes, truncates them, or repeats a
part. Each copy must be used or rejected with an error message. Exits with 1 if one is not,
or if it crashes the decoder, which costs `genie-videos` that file.
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
flags.DEFINE_integer("files", 500, "Number of damaged files.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the damage.")

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
_IMAGES = {
    "rgb.png": ("PNG", "RGB", {}),
    "palette.png": ("PNG", "P", {}),
    "baseline.jpg": ("JPEG", "RGB", {}),
    "progressive.jpg": ("JPEG", "CMYK", {"progressive": True}),
}


def make_seeds() -> dict[str, bytes]:
    """Make a valid file of each kind, by name."""
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
    for name, (kind, mode, settings) in _IMAGES.items():
        file = io.BytesIO()
        Image.fromarray(frames[5]).convert(mode).save(file, kind, **settings)
        seeds[name] = file.getvalue()
    return seeds


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, most of them near the start, truncate, or repeat a part."""
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


def decode(path: pathlib.Path) -> str:
    """Decode a file; return "used", "partly used", "rejected" or an unexpected error."""
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
        return "partly used" if count else "rejected"
    except Exception as error:
        return repr(error)
    return "used"


def fuzz(files: int, seed: int) -> collections.Counter:
    """Decode damaged files; return the count of each outcome."""
    rng = np.random.default_rng(seed)
    seeds = make_seeds()
    names = sorted(seeds)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            name = names[number % len(names)]
            path = pathlib.Path(folder, f"{number}_{name}")
            path.write_bytes(damage(seeds[name], rng))
            outcome = decode(path)
            counts[outcome] += 1
            if outcome not in ("used", "partly used", "rejected"):
                print(f"{path.name}: {outcome}")
            path.unlink()
    return counts


def main(_) -> None:
    start = time.time()
    counts = fuzz(FLAGS.files, FLAGS.seed)
    for name, count in counts.most_common():
        print(f"{count:5} {name}")
    print(f"PyAV {av.__version__}, {time.time() - start:.0f} s")
    sys.exit(bool(set(counts) - {"used", "partly used", "rejected"}))


if __name__ == "__main__":
    app.run(main)
