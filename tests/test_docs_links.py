"""What the manual links to is there: files, and headings in them; and every page is on the map."""

import re
from pathlib import Path

import pytest

from tests.services import ROOT
from tests.shell_examples import FENCE, ORIGINAL, PAGES

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        slug = re.sub(r"[^\w\- ]", "", LINK.sub(r"\1", heading).lower()).replace(" ", "-")
        found.add(next(name for name in (slug, *(f"{slug}-{n}" for n in range(1, 100))) if name not in found))
    return found


def links(page: Path) -> list[str]:
    """Those within the repository."""
    return [link for link in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))) if not re.match(r"\w+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        found = target.is_relative_to(ROOT) and target.exists() and (not anchor or anchor in anchors(target))
        lost += [] if found else [link]
    assert lost == []


def test_every_page_is_on_the_map_and_the_readmes_link_it() -> None:
    here = ROOT / "docs" / "README.md"
    mapped = {(here.parent / link.partition("#")[0]).resolve() for link in links(here)}
    pages = {*(ROOT / "docs").glob("*.md")} - {here}
    assert pages - mapped == set()
    assert ORIGINAL in mapped
    for readme in ("README.md", "README.zh.md"):
        assert "docs/README.md" in links(ROOT / readme)
