"""End-to-end runs of genie-generate."""

import numpy as np
import pytest
from PIL import Image


def test_gif_and_png_have_same_frames(trained, evaluated, run):
    prompt = np.array(Image.open(trained / "evaluation/prompt.png"))
    for name in ("video.png", "video.gif"):
        ended = run("generate", trained, {"output": f"out/{name}"})
        assert ended.code == 0, ended.errors
        assert ended.out == f"Wrote out/{name}: the prompt and 3 frames.\n"
    assert prompt.shape == (64, 64, 3)
    strip = np.array(Image.open(trained / "out/video.png"))
    assert strip.shape == (64, 4 * 64, 3)
    # Equal seeds give equal videos, but a GIF has only 256 colors.
    with Image.open(trained / "out/video.gif") as gif:
        first = np.array(gif.convert("RGB")).astype(int)
    assert np.abs(first - strip[:, :64]).mean() < 4


def test_prompt_is_cropped_or_padded(run, user_folder, tmp_path):
    Image.new("RGB", (200, 100), "white").save(tmp_path / "wide.jpg")
    changes = {"preset": user_folder / "genie/model", "prompt": "wide.jpg"}
    for fit in ("crop", "pad"):
        ended = run(
            "generate", tmp_path, {**changes, "fit": fit, "output": f"{fit}.png"}
        )
        assert ended.code == 0, ended.errors
    files = (tmp_path / f"{fit}.png" for fit in ("crop", "pad"))
    cropped, padded = (np.array(Image.open(file)) for file in files)
    assert cropped.shape == padded.shape == (16, 4 * 16, 3)
    assert (cropped[:, :16] != padded[:, :16]).any()


def test_prompt_has_several_frames_with_their_actions(run, user_folder, tmp_path):
    for gray in (0, 128):
        Image.new("L", (16, 16), gray).save(tmp_path / f"{gray}.png")
    videos = []
    for actions in (None, "3"):
        changes = {"preset": user_folder / "genie/model", "prompt": "0.png,128.png"}
        changes |= {"prompt_actions": actions, "output": "video.png"}
        ended = run("generate", tmp_path, changes)
        assert ended.code == 0, ended.errors
        assert ended.out == "Wrote video.png: the prompt and 3 frames.\n"
        videos.append(np.array(Image.open(tmp_path / "video.png")))
    assert videos[0].shape == (16, 5 * 16, 3)


NO_PRESET = (
    "There is no preset none: expected a folder, or the name of one that ships with .*"
)
ACTIONS = "--actions must be numbers from 0 to 4, separated by commas; received "
# Invalid input: the run, its changed flags, and a pattern of the error.
WRONG = [
    ("generate", {"preset": "none"}, NO_PRESET),
    ("generate", {"prompt": "none.png"}, "There is no prompt image none.png."),
    (
        "generate",
        {"prompt": "text.png"},
        "The prompt image text.png cannot be used: it cannot be read as a PNG, JPEG or "
        "GIF image.",
    ),
    (
        "generate",
        {"temperature": "nan"},
        "--temperature must be a finite number; received nan",
    ),
    (
        "generate",
        {"steps": 10**30},
        r"--steps must be between -2\^31 and 2\^31; received 10+",
    ),
    ("generate", {"fit": "stretch"}, "flag --fit=stretch: .*<crop.pad>.*"),
    (
        "generate",
        {"preset": "part"},
        "Expected part to hold a world, .*; its config.json describes a VideoTokenizer.",
    ),
    ("generate", {"actions": "0,5"}, f"{ACTIONS}'0,5'."),
    ("generate", {"actions": "-1"}, f"{ACTIONS}'-1'."),
    ("generate", {"actions": "1,left"}, f"{ACTIONS}'1,left'."),
    ("generate", {"actions": ""}, f"{ACTIONS}''."),
    *(
        (
            "generate",
            {"prompt": f"{2 * 'evaluation/prompt.png,'}{last}", **changes},
            sentence,
        )
        for last, changes, sentence in (
            ("none.png", {}, "There is no prompt image none.png."),
            (
                "evaluation/prompt.png",
                {"prompt_actions": "1"},
                "Expected 2 prompt actions, between 3 prompt frames; received 1.",
            ),
            (
                "evaluation/prompt.png",
                {"prompt_actions": "1,5"},
                "--prompt_actions must be numbers from 0 to 4, separated by commas; "
                "received '1,5'.",
            ),
            (
                "evaluation/prompt.png",
                {"preset": "guided"},
                "Expected 2 prompt actions, between 3 prompt frames, which a guided "
                "world cannot infer; received none.",
            ),
        )
    ),
    (
        "generate",
        {"output": "video.avi"},
        "A video's file name must end in .gif, .mp4 or .png; received video.avi.",
    ),
    (
        "generate",
        {"output": "file/below/a.gif"},
        "cannot write to the folder file/below: choose another",
    ),
    (
        "generate",
        {"output": "a.gif", "fps": 60},
        r"A GIF's `fps` must be in \(0, 50\]; received 60.",
    ),
    ("generate", {"seed": 2**31}, "flag --seed=2147483648: .*2147483647.*"),
    ("generate", {"fps": 1001}, "flag --fps=1001: .*1000.*"),
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)
