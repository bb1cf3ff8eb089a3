"""Import graph of genie_tf, read from its sources without running them."""

import ast
from collections.abc import Iterable
from pathlib import Path

_FOLDERS = ("genie_tf", "datasets", "experiments")


def find_modules(root: Path) -> dict[str, Path]:
    """Return the names and files of all modules of a repository."""
    modules = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            parts = parts if parts[0] == "genie_tf" else ("genie_tf", *parts)
            modules[".".join(parts)] = path
    return modules


def import_graph(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Return the modules that each module's imports run.

    Imports inside functions count; imports under `if TYPE_CHECKING` do not: they never
    run. Importing `a.b` also runs the package `a`. Packages that contain the importing
    module are left out: they are running already.
    """
    graph = {}
    for module, path in modules.items():
        is_package = path.name == "__init__.py"
        package = module if is_package else module.rpartition(".")[0]
        visitor = _Imports(package)
        visitor.visit(ast.parse(path.read_text()))
        imported = {name for target in visitor.names for name in parents(target)}
        graph[module] = (imported & modules.keys()) - set(parents(module))
    return graph


def parents(name: str) -> Iterable[str]:
    """Yield a dotted name and its parent packages: a.b.c, a.b, a."""
    while name:
        yield name
        name = name.rpartition(".")[0]


class _Imports(ast.NodeVisitor):
    """Collector of the dotted names of all modules and members that a file imports."""

    def __init__(self, package: str):
        self.names = set()
        self._package = package

    def visit_If(self, node):
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        self.names |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node):
        # One dot is the file's own package; each further dot goes up one package.
        parent = [*parents(self._package)][node.level - 1] if node.level else ""
        module = ".".join(filter(None, (parent, node.module)))
        self.names |= {f"{module}.{alias.name}" for alias in node.names}
