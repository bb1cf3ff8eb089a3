"""The packages, programs, version and dependencies in setup.cfg are right."""

import ast
import collections
import configparser
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("genie_tf", "datasets", "experiments")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# Distributions of modules with another name.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "google": "protobuf",
    "gym_notices": "procgen",
    "pygame": "gymnasium",
    "starlette": "fastapi",
}

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
SCRIPTS = CONFIG["options.entry_points"]["console_scripts"].strip().split("\n")


def imports(path: Path) -> set[str]:
    """Return all modules that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module)
    return modules


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_packages_match_folders():
    listed = CONFIG["options"]["packages"].split()
    folders = {p.parent.relative_to(ROOT) for p in SOURCES}
    names = {".".join(folder.parts) for folder in folders}
    packages = {n if n.split(".")[0] == "genie_tf" else f"genie_tf.{n}" for n in names}
    assert listed == sorted(packages)


def test_every_package_has_an_init_file():
    without = {
        relative(p.parent) for p in SOURCES if not (p.parent / "__init__.py").is_file()
    }
    assert not without


@pytest.mark.parametrize("script", SCRIPTS)
def test_console_script_starts_its_program(script):
    """Each runs in its own process, because each defines flags."""
    name, module, function = re.split(" = |:", script)
    program = f"import sys; from {module} import {function}; sys.argv[0] = {name!r}"
    command = [sys.executable, "-c", f"{program}; {function}()", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert f"\n{name} --" in ended.stdout, ended.stderr


def pins(file: str) -> dict[str, list]:
    """Return the requirements in a constraints file by name; all must have hashes."""
    text = (ROOT / file).read_text().replace("\\\n", "")
    requirements = collections.defaultdict(list)
    for line in text.splitlines():
        if not line.startswith("#"):
            pin, *hashes = line.split(" --hash=")
            requirement = Requirement(pin)
            assert hashes, f"{file} has no hashes of {pin}"
            requirements[canonicalize_name(requirement.name)].append(requirement)
    return requirements


def direct(*extras: str) -> list[Requirement]:
    """Return the requirements in setup.cfg, with some of its extras."""
    texts = [CONFIG["options"]["install_requires"]]
    texts += [CONFIG["options.extras_require"][extra] for extra in extras]
    lines = [line for text in texts for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith(("#", "genie_tf["))]
    return [Requirement(line) for line in lines]


TESTED = ("convert", "gym", "jax", "mp4", "play", "video", "test")
HOW = "run `make constraints`"


def test_constraints_satisfy_setup():
    pinned = pins("constraints.txt")
    for requirement in direct(*TESTED, "docs", "dev"):
        candidates = pinned[canonicalize_name(requirement.name)]
        assert any(_agree(requirement, pin) for pin in candidates), (
            f"{requirement}: {HOW}"
        )


def test_oldest_constraints_are_minimums_in_setup():
    pinned = pins("constraints-oldest.txt")
    for requirement in direct(*TESTED):
        (least,) = [x.version for x in requirement.specifier if x.operator == ">="]
        candidates = pinned[canonicalize_name(requirement.name)]
        versions = [x.version for pin in candidates for x in pin.specifier]
        # 1.9.1 is the first release of 1.9 if 1.9.0 was withdrawn.
        assert any(
            Version(version).release[: len(Version(least).release)]
            == Version(least).release
            for version in versions
        ), f"{requirement}: {HOW}"


@pytest.mark.parametrize("extra", sorted(CONFIG["options.extras_require"]))
def test_extra_can_be_installed_beside_base(extra):
    """What it needs accepts the pinned releases, and these have the extras it names."""
    pinned = pins("constraints.txt")
    for requirement in direct(extra):
        candidates = pinned.get(canonicalize_name(requirement.name), [])
        assert not candidates or any(_agree(requirement, x) for x in candidates), (
            requirement
        )
        if requirement.extras and candidates:
            metadata = importlib.metadata.metadata(requirement.name)
            offered = map(canonicalize_name, metadata.get_all("Provides-Extra"))
            assert set(map(canonicalize_name, requirement.extras)) <= set(offered)


def _agree(requirement: Requirement, pin: Requirement) -> bool:
    (exact,) = pin.specifier
    return requirement.specifier.contains(exact.version)


def test_version_matches_changelog_and_citation():
    import genie_tf

    changelog = (ROOT / "CHANGELOG.md").read_text()
    version, date = re.search(r"^## ([\d.]+) - (.*)$", changelog, re.MULTILINE).groups()
    assert CONFIG["metadata"]["version"] == "attr: genie_tf.__version__"
    assert version == genie_tf.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert str(citation["date-released"]) == date
    assert citation["license"] == CONFIG["metadata"]["license"]


@pytest.mark.parametrize("folder", ["layers", "models", "samplers", "metrics"])
def test_models_do_not_need_tensorflow(folder):
    """They run on any Keras backend."""
    allowed = {"genie_tf", "keras", "numpy", "scipy"} | sys.stdlib_module_names
    for path in (ROOT / "genie_tf" / folder).rglob("*.py"):
        for module in imports(path):
            assert module.split(".")[0] in allowed, f"{relative(path)} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_are_declared(path):
    """This also rejects `import datasets`, which is Hugging Face's package."""
    options, extras = CONFIG["options"], CONFIG["options.extras_require"]
    requirements = options["install_requires"] + "".join(
        extras[extra]
        for extra in ("convert", "gym", "hub", "jax", "mp4", "play", "video")
    )
    declared = set(re.findall(r"^[A-Za-z][\w-]*", requirements, re.MULTILINE))
    known = {"genie_tf"} | sys.stdlib_module_names
    for module in imports(path):
        name = module.split(".")[0]
        distribution = DISTRIBUTIONS.get(name, name.replace("_", "-"))
        assert name in known or distribution in declared, (
            f"{relative(path)} imports {module}"
        )


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_runs_code_from_data(path):
    """Weights and configs from others must be safe to open: no pickle, eval or exec."""
    unsafe = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
    assert not imports(path) & unsafe
    calls = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
    ]
    called = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert not called & {"eval", "exec"}


def test_tests_of_oldest_releases_exist():
    lines = (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
    (tests,) = (line for line in lines if line.startswith("OLDEST_TESTS"))
    for path in tests.partition("=")[2].split():
        assert (ROOT / path).exists(), path
