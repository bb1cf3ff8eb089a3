"""Build the docs site in site/; see `make docs`.

Documents keep their paths, so links between them work on the site as in the repository.
Each module or package of the library gets a page with its docstrings.
"""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
SITE = ROOT / "site"

DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "LICENSE",
    "docs/*.md",
    "docs/*.gif",
    "docs/*.png",
    "docs/*.ipynb",
    "datasets/*/README.md",
    "experiments/configs/*.py",
)
# Programs have --help instead.
NO_REFERENCE = {"__init__", "experiments", "testing"}


def main() -> None:
    for name in ("docs", "source"):
        shutil.rmtree(BUILD / name, ignore_errors=True)
    gather_pages(BUILD / "docs", gather_source(BUILD / "source"))
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    subprocess.run(command, cwd=ROOT, check=True)
    # Zensical checks only links between documents, not images, folders and docstrings.
    sys.exit("\n".join(broken_links(SITE)) or None)


def gather_source(folder: Path) -> list[str]:
    """Copy the library to a folder in its import layout; return its modules' names."""
    for name, place in (("genie_tf", "genie_tf"), ("datasets", "genie_tf/datasets")):
        copy_files(ROOT / name, "**/*.py", folder / place)
    modules = {path.stem for path in (folder / "genie_tf").iterdir()}
    return sorted(modules - NO_REFERENCE)


def gather_pages(folder: Path, modules: list[str]) -> None:
    """Write all pages of the site to a folder, and their order to `navigation.md`.

    Args:
        folder: folder to write to.
        modules: names of the modules and packages of genie_tf that get a page.
    """
    for pattern in DOCUMENTS:
        copy_files(ROOT, pattern, folder)
    for notebook in folder.glob("docs/*.ipynb"):
        notebook.with_suffix(".md").write_text(notebook_as_markdown(notebook))
    readme = (folder / "README.md").read_text()
    links = re.findall(r"^- \[.*?\]\((docs/\w+)\.", readme, re.MULTILINE)
    navigation = [
        f"- [{read_title(folder / page)}]({page})"
        for page in (f"{x}.md" for x in ("README", *links, "CONTRIBUTING", "CHANGELOG"))
    ]
    navigation.append("- API reference")
    (folder / "reference").mkdir()
    for module in modules:
        page = f"reference/{module}.md"
        (folder / page).write_text(f"::: genie_tf.{module}\n")
        navigation.append(f"    - [genie_tf.{module}]({page})")
    (folder / "navigation.md").write_text("\n".join(navigation) + "\n")


def copy_files(source: Path, pattern: str, folder: Path) -> None:
    for path in source.glob(pattern):
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def notebook_as_markdown(path: Path) -> str:
    """Return the cells of a notebook, without their output."""
    form = {"markdown": "{}", "code": "```python\n{}\n```"}
    cells = json.loads(path.read_text())["cells"]
    texts = [form[cell["cell_type"]].format("".join(cell["source"])) for cell in cells]
    return "\n\n".join(texts) + "\n"


def read_title(path: Path) -> str:
    """Return the first heading of a document."""
    return path.read_text().partition("# ")[2].partition("\n")[0]


class Page(HTMLParser):
    """Links and anchors of an HTML file."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value)
            elif name == "id":
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """Return an error message for each link without a target in the site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            base = site if url.path.startswith("/") else path.parent
            target = base / unquote(url.path).lstrip("/") if url.path else path
            target = target.resolve()
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors if target in pages else ()
            if not target.is_file() or (url.fragment and url.fragment not in anchors):
                broken.append(f"{path.relative_to(site)} has a broken link: {link}")
    return broken


if __name__ == "__main__":
    main()
