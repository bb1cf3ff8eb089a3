"""Links in the documents lead to existing files and headings."""

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "datasets/*/README.md")
    for path in sorted(ROOT.glob(pattern))
]


def parse(text: str) -> list[Token]:
    """Return the tokens of a document, including those in paragraphs and tables."""
    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    return [token for block in blocks for token in (block, *(block.children or ()))]


def find_links(text: str) -> list[str]:
    """Return the targets of the links and images of a document, except web addresses."""
    targets = [
        token.attrs.get("href") or token.attrs.get("src")
        for token in parse(text)
        if token.type in ("link_open", "image")
    ]
    return [target for target in targets if not urlsplit(target).scheme]


def find_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    tokens = parse(text)
    counts, anchors = Counter(), set()
    for token, inline in zip(tokens, tokens[1:]):
        if token.type == "heading_open":
            title = "".join(part.content for part in inline.children)
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
            counts[slug] += 1
    return anchors


def broken_links(path: Path) -> list[str]:
    """Return the links of a document whose file or heading does not exist.

    A link to a folder is broken too: the docs site has no page for it.
    """
    broken = []
    for link in find_links(path.read_text()):
        place = urlsplit(link)
        target = path.parent / unquote(place.path) if place.path else path
        if not target.is_file() or (
            place.fragment and place.fragment not in find_anchors(target.read_text())
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_resolve(document):
    assert not broken_links(ROOT / document)


def test_broken_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# What's `new`?\n\n## Twice\n\n## Twice\n")
    (tmp_path / "page.md").write_text(
        "[a](other.md#whats-new) [b](other.md#twice-1) [c](#here) [d](https://x.org/y)\n"
        "[e](other.md#twice-2) [f](none.md) ![g](none.png) [h](#there) [i][later]\n"
        "`[code](none)`\n\n[later]: missing.md\n\n# Here\n\n"
        "```\n[code](none)\n```\n\n| [j](other.md) |\n|---|\n| [k](none/) [l](.) |\n"
    )
    assert broken_links(tmp_path / "page.md") == [
        *(
            "other.md#twice-2",
            "none.md",
            "none.png",
            "#there",
            "missing.md",
            "none/",
            ".",
        )
    ]
