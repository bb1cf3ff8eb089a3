"""End-to-end runs of genie-convert."""

from pathlib import Path

import pytest

import genie_tf
from genie_tf.models import Genie, GuidedGenie, VideoTokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "convert" / "fixtures"
JAFAR = FIXTURES / "jafar" / "genie.msgpack"
JASMINE = FIXTURES / "jasmine" / "genie.msgpack"
TOKENIZER, GUIDED = (
    FIXTURES / "genieredux" / f"{name}.safetensors" for name in ("tokenizer", "guided")
)
for module in ("msgpack", "safetensors"):
    pytest.importorskip(module)


@pytest.fixture
def convert(run_app, tmp_path):
    """Function that runs genie-convert on frames of 8x12 pixels."""

    def run(source, checkpoint, *more):
        arguments = [f"--from={source}", f"--checkpoint={checkpoint}"]
        size = ["--output=preset", "--height=8", "--width=12"]
        return run_app("convert", *arguments, *size, *more, folder=tmp_path)

    return run


@pytest.mark.parametrize(
    "source, arguments, kind",
    [
        ("jafar", [JAFAR], Genie),
        ("jasmine", [JASMINE], Genie),
        ("genieredux", [TOKENIZER], VideoTokenizer),
        ("genieredux", [GUIDED, f"--tokenizer={TOKENIZER}"], GuidedGenie),
    ],
)
def test_checkpoint_becomes_a_preset(convert, tmp_path, source, arguments, kind):
    ended = convert(source, *arguments)
    assert ended.code == 0, ended.errors
    assert ended.out == f"Wrote preset: {kind.__name__}.\n"
    assert isinstance(genie_tf.load(tmp_path / "preset"), kind)


@pytest.mark.parametrize(
    "source, arguments, sentence",
    [
        ("jafar", ["missing"], "There is no checkpoint .*missing."),
        ("jafar", [GUIDED], "This is no checkpoint of Jafar: .*"),
        (
            "genieredux",
            [GUIDED],
            "This checkpoint holds a world without its tokenizer: .*",
        ),
        ("jafar", [JAFAR, f"--tokenizer={TOKENIZER}"], "--tokenizer is only for .*"),
        ("jafar", [JAFAR, f"--action_model={JAFAR}"], "--action_model is only for .*"),
        ("jasmine", [JAFAR], "This is no checkpoint of .* Jasmine: .*"),
        ("jafar", [Path(__file__)], ".* is not a complete checkpoint of .*"),
    ],
)
def test_invalid_input_is_refused(convert, tmp_path, source, arguments, sentence):
    convert(source, *arguments).check_refused("(genie-)?convert", sentence)
    assert not list(tmp_path.iterdir())


def test_existing_output_is_refused(convert, tmp_path):
    (tmp_path / "preset").mkdir()
    ended = convert("jafar", JAFAR)
    ended.check_refused("(genie-)?convert", ".*preset exists already: .*")
