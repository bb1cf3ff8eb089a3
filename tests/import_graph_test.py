"""The rooms of the house import each other in one direction only.

docs/architecture.md has the levels, BUILD the libraries; both must agree with the
imports in the files.
"""

import graphlib
import re
from pathlib import Path

from genie_tf.testing.import_graph import find_modules, import_graph

ROOT = Path(__file__).resolve().parents[1]
GRAPH = import_graph(find_modules(ROOT))


def room_of(module: str) -> str:
    """Return the folder or file of `genie_tf` that a module is in."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or package


def levels() -> dict[str, int]:
    """Return the level of each room, by the table in docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition("\n## Levels\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return {
        room: -row
        for row, rooms in enumerate(rows)
        for room in re.findall(r"`(\w+)`", rooms)
    }


def test_no_modules_import_each_other():
    graph = {module: sorted(imported) for module, imported in GRAPH.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(
            f"A circle of imports: {' <- '.join(error.args[1])}"
        ) from None


def test_every_room_has_a_level():
    rooms = {room_of(module) for module in GRAPH}
    assert rooms == levels().keys(), "Mend the table of levels in docs/architecture.md"


def test_imports_point_down():
    level = levels()
    upward = [
        f"{module} imports {imported}"
        for module, targets in GRAPH.items()
        for imported in targets
        if room_of(module) != room_of(imported)
        and level[room_of(module)] <= level[room_of(imported)]
    ]
    assert not upward, "Not from a row below:\n" + "\n".join(sorted(upward))
