"""BUILD lists each Python file once, and its dependencies match the imports.

BUILD is Starlark, close enough to Python for `ast` to parse it.
"""

import ast
import re
from collections import Counter
from pathlib import Path

from genie_tf.testing.import_graph import find_modules, import_graph, parents

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("datasets", "experiments", "genie_tf", "tests")
BUILD = ast.parse((ROOT / "BUILD").read_text())


def listed_files(node: ast.AST) -> list[str]:
    """Return the paths of Python files below a node."""
    strings = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
    return [s for s in strings if re.fullmatch(r"\w+/[\w/]+\.py", str(s))]


def lines(paths) -> str:
    return "".join(f'\n    "{path}",' for path in sorted(paths))


def test_each_file_is_listed_once():
    tree = {str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).rglob("*.py")}
    listed = Counter(listed_files(BUILD))
    # Every test has the main program as a source and as `main`.
    del listed["tests/pytest_main.py"]
    tree.discard("tests/pytest_main.py")

    missing = tree - set(listed)
    extra = set(listed) - tree
    twice = [path for path, count in listed.items() if count > 1]
    assert not missing, f"Add to BUILD:{lines(missing)}"
    assert not extra, f"Remove from BUILD, these do not exist:{lines(extra)}"
    assert not twice, f"List only once in BUILD:{lines(twice)}"


def libraries() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the library of each file, and the dependencies of each library."""
    lists = {
        node.targets[0].id: listed_files(node.value)
        for node in BUILD.body
        if isinstance(node, ast.Assign)
    }
    library_of, deps_of = {}, {}
    for node in BUILD.body:
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        if node.value.func.id != "py_library":
            continue
        arguments = {keyword.arg: keyword.value for keyword in node.value.keywords}
        name = ast.literal_eval(arguments["name"])
        deps = ast.literal_eval(arguments.get("deps", ast.List([])))
        deps_of[name] = [dep.removeprefix(":") for dep in deps]
        used_lists = [
            n.id for n in ast.walk(arguments["srcs"]) if isinstance(n, ast.Name)
        ]
        files = listed_files(arguments["srcs"])
        files += [path for used in used_lists for path in lists.get(used, [])]
        library_of.update(dict.fromkeys(files, name))
    return library_of, deps_of


def test_dependencies_are_the_imports():
    library_of, deps_of = libraries()
    modules = find_modules(ROOT)
    library = {
        name: library_of[str(path.relative_to(ROOT))] for name, path in modules.items()
    }
    imports_of = {name: {name} for name in deps_of}
    for module, imported in import_graph(modules).items():
        # Python imports the parent packages of a module first.
        for name in {*imported, *parents(module)}:
            imports_of[library[module]].add(library[name])
    for name, deps in deps_of.items():
        assert deps == sorted(imports_of[name] - {name}), f"deps of {name} in BUILD"


def test_dependencies_point_down():
    _, deps_of = libraries()
    while deps_of:
        bottom = {
            name for name, deps in deps_of.items() if not set(deps) & set(deps_of)
        }
        assert bottom, f"These libraries form a cycle: {sorted(deps_of)}"
        deps_of = {name: deps for name, deps in deps_of.items() if name not in bottom}


def test_shipped_presets_are_included():
    (base,) = (node for node in BUILD.body if "name='base'" in ast.unparse(node))
    assert "data=glob(['genie_tf/presets/files/**']" in ast.unparse(base)
