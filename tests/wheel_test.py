"""The wheel works without the repository."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PRESET = "genie_coinrun"

# Prints the files of genie_tf's modules, the import paths and the import finders.
IMPORTED = """
import sys, genie_tf.datasets, genie_tf.experiments.cli, genie_tf.models, genie_tf.play
import tensorflow_datasets as tfds
print(*(m.__file__ for name, m in sys.modules.items() if name.startswith("genie_tf")))
print(*sys.path)
print(*(finder.__module__ for finder in sys.meta_path))
print(*genie_tf.list_presets())
print(bool(tfds.builder("coinrun/random_hard_small", data_dir="data").info.citation))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Wheel of a copy of the repository with an added preset."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("genie_tf", "datasets", "experiments"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (preset,) = source.rglob(PRESET)
    shutil.copytree(preset, preset.with_name("dropped_in"))
    pip(
        *("wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        f"--wheel-dir={folder}",
        source,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def run(wheel):
    """Function that starts a program in an environment with the wheel."""
    folder = wheel.with_name("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip(f"--python={python}", "install", "--no-deps", "--no-index", wheel)
    # Use the dependencies of the tests. Path files make the repository importable only
    # from an environment's own folder, so it is not importable here.
    (own,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("-packages")]
    (own / "others.pth").write_text("\n".join(others))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def start(program: str, *arguments) -> subprocess.Popen:
        return subprocess.Popen(
            [folder / "bin" / program, *arguments],
            cwd=wheel.parent,
            env={**environment, "PYTHONNOUSERSITE": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def pip(*arguments) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], check=True)


def test_wheel_contains_all_files(wheel):
    """They include configs, datasets, the page, its prompts and added presets."""
    source = wheel.with_name("source")
    tree = {
        path.relative_to(source)
        for folder in ("genie_tf", "datasets", "experiments")
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as file:
        packed = {Path(name) for name in file.namelist() if ".dist-info/" not in name}
    assert packed == {
        path if path.parts[0] == "genie_tf" else "genie_tf" / path for path in tree
    }


def test_nothing_is_imported_from_repository(wheel, run):
    with run("python", "-c", IMPORTED) as process:
        files, paths, finders, presets, cites = process.stdout.read().splitlines()
    assert process.returncode == 0
    environment = wheel.with_name("environment")
    assert all(Path(file).is_relative_to(environment) for file in files.split())
    assert not {str(ROOT), str(ROOT / "genie_tf")} & set(paths.split())
    assert "editable" not in finders
    assert presets.split() == ["dropped_in", PRESET]
    assert cites == "True"


def test_shipped_preset_generates_video(wheel, run):
    prompt = next(wheel.with_name("environment").rglob("prompts/*.png"))
    arguments = (f"--prompt={prompt}", "--actions=2,5", "--output=video.gif")
    with run("genie-generate", f"--preset={PRESET}", *arguments) as process:
        process.stdout.read()
    assert process.returncode == 0
    with Image.open(wheel.with_name("video.gif")) as video:
        assert video.n_frames == 3  # The prompt and two actions.


def test_shipped_preset_can_be_played(run):
    with run("genie-play", f"--preset={PRESET}", "--port=0") as process:
        try:
            assert process.stdout.readline() == "Compiling ...\n"
            address = re.fullmatch("Play at (.*)\n", process.stdout.readline())[1]
            page = read(address)
            scripts = re.findall('src="(.*?)"', page)
            assert scripts
            for script in scripts:
                assert read(f"{address}/{script.removeprefix('/')}")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()


def read(address: str) -> str:
    with urllib.request.urlopen(address) as answer:
        return answer.read().decode()
