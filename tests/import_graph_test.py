"""The folders of genie_tf import each other in one direction only.

The imports must agree with the levels in docs/architecture.md and the libraries in BUILD.
"""

import graphlib
import re
from pathlib import Path

from genie_tf.testing.import_graph import find_modules, import_graph

ROOT = Path(__file__).resolve().parents[1]
GRAPH = import_graph(find_modules(ROOT))


def folder_name(module: str) -> str:
    """Return the folder or file of `genie_tf` that contains a module."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or package


def levels() -> dict[str, int]:
    """Return the level of each folder from the table in docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition("\n## Levels\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return {
        name: -number
        for number, row in enumerate(rows)
        for name in re.findall(r"`(\w+)`", row)
    }


def test_imports_have_no_cycles():
    graph = {module: sorted(imported) for module, imported in GRAPH.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(
            f"A cycle of imports: {' <- '.join(error.args[1])}"
        ) from None


def test_every_folder_has_a_level():
    folders = {folder_name(module) for module in GRAPH}
    assert folders == levels().keys(), "Fix the table of levels in docs/architecture.md"


def test_imports_point_down():
    level = levels()
    upward = [
        f"{module} imports {imported}"
        for module, targets in GRAPH.items()
        for imported in targets
        if folder_name(module) != folder_name(imported)
        and level[folder_name(module)] <= level[folder_name(imported)]
    ]
    assert not upward, "Not from a lower row:\n" + "\n".join(sorted(upward))
