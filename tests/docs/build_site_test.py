"""Tests of the docs site's pages and link check, without the site generator."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build_site():
    path = ROOT / "docs" / "build_site.py"
    spec = importlib.util.spec_from_file_location("build_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_navigation_lists_every_document_and_public_module(build_site, tmp_path):
    modules = build_site.gather_source(tmp_path / "source")
    assert {"datasets", "errors", "layers"} <= set(modules)
    assert (tmp_path / "source/genie_tf/datasets/clips.py").is_file()
    build_site.gather_pages(tmp_path / "pages", modules)
    navigation = (tmp_path / "pages" / "navigation.md").read_text()
    pages = ["README.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
    for page in [*pages, *(f"reference/{module}.md" for module in modules)]:
        assert f"]({page})\n" in navigation, f"README.md must list {page}"


def test_notebook_becomes_page(build_site, tmp_path):
    (tmp_path / "a.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["# A\\n", "b"]},'
        ' {"cell_type": "code", "source": ["c = 1"]}]}'
    )
    page = build_site.notebook_as_markdown(tmp_path / "a.ipynb")
    assert page == "# A\nb\n\n```python\nc = 1\n```\n"


def test_broken_links_are_found(build_site, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top"><a href="#top"><a href="folder/"><a href="https://x.org/y">'
        '<a href="none"><img src="none.png"><a href="folder/#deep"><a href="folder/#no">'
    )
    (tmp_path / "folder" / "index.html").write_text('<p id="deep"><a href="/#top">')
    assert build_site.broken_links(tmp_path) == [
        f"index.html has a broken link: {link}"
        for link in ("none", "none.png", "folder/#no")
    ]
