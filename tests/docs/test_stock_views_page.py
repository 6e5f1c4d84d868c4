"""The page of the stock views has the columns that their tables have."""

from __future__ import annotations

import re

import pytest

from projections import RelationalView
from projections.stock import stock_views

from .pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "stock-views.md").read_text()
TABLES = {
    name: view.table for name, view in stock_views().items() if isinstance(view, RelationalView)
}


@pytest.mark.parametrize("name", TABLES)
def test_a_view_has_a_column_then_its_section_has_it_and_no_other(name: str) -> None:
    """Who writes SQL finds each column under its view, the first cell of a row."""
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    said = [column for cell in cells for column in re.findall(r"`(\w+)`", cell)]
    assert sorted(said) == sorted(column.name for column in TABLES[name].columns)


def test_a_view_is_in_the_room_then_the_page_has_a_section_of_it() -> None:
    """The table at its head and the sections name every one of them."""
    for name in stock_views():
        assert f"| `{name}` |" in PAGE
        assert f"\n## {name}\n" in PAGE
