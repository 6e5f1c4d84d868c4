"""Links lead somewhere, and every page can be reached from the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT, all_pages, name_of

PAGES = all_pages()
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def _prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _links(page: Path) -> list[str]:
    found = _LINK.findall(_prose(page))
    return [link for link in found if not link.startswith(("https://", "http://"))]


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_is_followed_then_it_leads_to_a_page_and_a_heading(page: Path) -> None:
    """No link within the project is dead."""
    for link in _links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{name_of(page)}: {link}"


def test_reader_starts_at_the_readme_then_every_page_can_be_reached() -> None:
    """No page is written for nobody."""
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        places = [link.partition("#")[0] for link in _links(page)]
        waiting += [(page.parent / place).resolve() for place in places if place]
    assert not [name_of(page) for page in PAGES if page not in reached]
