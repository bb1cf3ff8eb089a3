"""Every path flag of a program rejects gs:// and the like, and expands `~`."""

import ast
from pathlib import Path

import pytest

from genie_tf.experiments import arrays
from genie_tf.testing.tiny_models import tiny_tokenizer

# String flags that are not paths.
NO_PATHS = {
    *("camera", "split", "name", "black_region"),
    *("host", "allowed_origin", "root_path"),
    *("strategy", "tpu", "mesh", "compile_for"),
    *("game", "mode"),
}


def find_flags(program: Path, function: str) -> list[str]:
    """Return the names of the flags that a program defines with a function."""
    calls = [
        n for n in ast.walk(ast.parse(program.read_text())) if isinstance(n, ast.Call)
    ]
    return [
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == function
    ]


PROGRAMS = {
    path.stem: path
    for path in sorted(Path(arrays.__file__).parent.glob("*.py"))
    if "cli.run(" in path.read_text()
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_path_flags_are_defined_as_paths(program):
    texts = set(find_flags(PROGRAMS[program], "DEFINE_string"))
    assert not texts - NO_PATHS
    paths = ("define_path", "define_config")
    assert any(find_flags(PROGRAMS[program], function) for function in paths)


@pytest.mark.parametrize(
    ("program", "flag"),
    [("export", "output"), ("preview", "dataset"), ("train", "config")],
)
def test_urls_are_rejected(run_app, tmp_path, program, flag):
    ended = run_app(program, f"--{flag}=gs://bucket/x", folder=tmp_path)
    assert ended.code == 2
    (line,) = ended.errors
    assert f"--{flag}=gs://bucket/x: Expected a path on this machine" in line
    assert not list(tmp_path.iterdir())


def test_tilde_is_expanded(run_app, tmp_path):
    home, folder = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    tiny_tokenizer().save_to_preset(home / "tokenizer", "Small.")
    paths = ["--preset=~/tokenizer", "--output=~/exported"]
    ended = run_app("export", *paths, folder=folder, home=str(home))
    assert ended.code == 0, ended.errors
    assert (home / "exported/saved_model.pb").exists()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("path", ["", "~nobody-of-this-name/x"])
def test_invalid_paths_are_rejected(run_app, tmp_path, path):
    ended = run_app("export", f"--output={path}", folder=tmp_path)
    assert ended.code == 2
    (line,) = ended.errors
    assert line.startswith(f"export.py: flag --output={path}: ")
