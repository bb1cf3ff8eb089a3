"""End-to-end runs of genie-export."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageSequence

SHIPPED = "genie_coinrun"


@pytest.mark.parametrize(("preset", "side"), [("genie/model", 16), (SHIPPED, 64)])
def test_readme_example_plays_exported_world(run, user_folder, tmp_path, preset, side):
    given = preset if preset == SHIPPED else user_folder / preset
    ended = run("export", tmp_path, {"preset": given})
    assert ended.code == 0, ended.errors
    assert ended.out == "Wrote runs/genie/saved_model.\n"
    with Image.open(user_folder / "evaluation/prompt.png") as prompt:
        prompt.resize((side, side)).save(tmp_path / "frame.png")
    readme = Path(__file__).resolve().parents[2] / "README.md"
    examples = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    (example,) = [code for code in examples if "saved_model" in code]
    # Without genie_tf and Keras, and after collecting unnamed objects.
    before = "sampling = world"
    assert before in example
    example = example.replace(before, f"import gc; gc.collect()\n{before}")
    program = (
        f"import sys; sys.modules['genie_tf'] = sys.modules['keras'] = None\n{example}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "world.gif") as gif:
        frames = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        assert (gif.size, sum(frames)) == ((side, side), 10 * 100)


@pytest.mark.parametrize("largest_file", [30_000, 200_000])
def test_full_disk_leaves_no_saved_model(run, user_folder, tmp_path, largest_file):
    changes = {"preset": user_folder / "part", "output": "saved_model"}
    ended = run("export", tmp_path, changes, largest_file=largest_file)
    sentence = r"(saved_model cannot be written: |\[Errno 27\] )File too large.*"
    ended.check_refused("export", sentence)
    assert os.listdir(tmp_path) == []


NO_PRESET = (
    "There is no preset none: expected a folder, or the name of one that ships with .*"
)
NO_FOLDER = "cannot write to the folder file/below: choose another"
# Invalid input: the run, its changed flags, and a pattern of the error.
WRONG = [
    ("export", {"preset": "none"}, NO_PRESET),
    (
        "export",
        {"preset": "dynamics"},
        "A Genie or a tokenizer can be exported; received a MaskGitDynamics.",
    ),
    ("export", {"output": "part"}, "part exists already: choose another folder."),
    ("export", {"output": "file/below"}, NO_FOLDER),
    ("export", {"output": None}, "expected --output; see --help"),
]


@pytest.mark.parametrize(("name", "changes", "sentence"), WRONG)
def test_invalid_input_is_rejected_in_one_sentence(
    check_refused, name, changes, sentence
):
    check_refused(name, changes, sentence)
