"""Import graph of a few files."""

import pytest

from genie_tf.testing.import_graph import find_modules, import_graph


@pytest.fixture
def make_graph(tmp_path):
    """Return a function that writes files and returns their import graph."""

    def write(files: dict[str, str]) -> dict[str, set[str]]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return import_graph(find_modules(tmp_path))

    return write


def test_folders_at_the_root_are_packages_of_genie_tf(make_graph):
    assert make_graph(
        {
            "genie_tf/__init__.py": "",
            "datasets/clips.py": "import genie_tf.files\nimport numpy",
            "genie_tf/files.py": "",
        }
    ) == {
        "genie_tf": set(),
        "genie_tf.files": set(),
        "genie_tf.datasets.clips": {"genie_tf.files"},
    }


def test_imports_in_functions_count_and_type_checking_imports_do_not(make_graph):
    graph = make_graph(
        {
            "genie_tf/a.py": "def f():\n    from genie_tf import b",
            "genie_tf/b.py": "if TYPE_CHECKING:\n    import genie_tf.a\n"
            "else:\n    import genie_tf.c",
            "genie_tf/c.py": "if typing.TYPE_CHECKING:\n    import genie_tf.a",
        }
    )
    assert graph == {
        "genie_tf.a": {"genie_tf.b"},
        "genie_tf.b": {"genie_tf.c"},
        "genie_tf.c": set(),
    }


def test_importing_module_runs_its_package(make_graph):
    graph = make_graph(
        {
            "genie_tf/a/__init__.py": "from genie_tf.a.one import name",
            "genie_tf/a/one.py": "",
            "genie_tf/a/two.py": "from genie_tf.a.one import name",
            "genie_tf/b.py": "from genie_tf.a.one import name",
        }
    )
    assert graph == {
        "genie_tf.a": {"genie_tf.a.one"},
        "genie_tf.a.one": set(),
        "genie_tf.a.two": {"genie_tf.a.one"},
        "genie_tf.b": {"genie_tf.a", "genie_tf.a.one"},
    }


def test_relative_imports_start_at_package(make_graph):
    graph = make_graph(
        {
            "genie_tf/a/__init__.py": "from .one import name",
            "genie_tf/a/one.py": "from .. import b",
            "genie_tf/a/two.py": "from . import one",
            "genie_tf/b.py": "",
        }
    )
    assert graph == {
        "genie_tf.a": {"genie_tf.a.one"},
        "genie_tf.a.one": {"genie_tf.b"},
        "genie_tf.a.two": {"genie_tf.a.one"},
        "genie_tf.b": set(),
    }
