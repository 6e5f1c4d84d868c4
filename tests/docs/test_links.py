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


def _dead_links(page: Path) -> list[str]:
    """Links within the project whose file or heading is not there."""
    dead = []
    for link in _links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    return dead


def _reached(start: Path) -> set[Path]:
    """The pages that links lead to, from one of them on."""
    reached: set[Path] = set()
    waiting = [start]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        places = [link.partition("#")[0] for link in _links(page)]
        waiting += [(page.parent / place).resolve() for place in places if place]
    return reached


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_is_followed_then_it_leads_to_a_page_and_a_heading(page: Path) -> None:
    """No link within the project is dead."""
    assert _dead_links(page) == []


def test_reader_starts_at_the_readme_then_every_page_can_be_reached() -> None:
    """No page is written for nobody."""
    reached = _reached(ROOT / "README.md")
    assert [name_of(page) for page in PAGES if page not in reached] == []


def test_links_are_dead_then_they_are_found(tmp_path: Path) -> None:
    """The check can fail: for a page, for a heading, and for a page that nothing leads to."""
    page, other, lonely = (tmp_path / f"{name}.md" for name in ("page", "other", "lonely"))
    page.write_text(
        "# A page\n[here](#a-page) [there](other.md#some-heading) [away](https://example.org/x)\n"
        "[gone](gone.md) [no heading](other.md#no-heading) [nor here](#nothing)\n"
        "```text\n[in a block](nowhere.md)\n```\n"
    )
    other.write_text("## Some *heading*\n")
    lonely.write_text("Nobody leads here.\n")
    assert _dead_links(page) == ["gone.md", "other.md#no-heading", "#nothing"]
    assert _reached(page) == {page, other}
