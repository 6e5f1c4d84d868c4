"""One word for each thing: public names are made of words that the glossary or English has."""

from __future__ import annotations

import importlib
import re

import pytest

from .pages import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text()
TERMS = re.findall(r"^\*\*(.+?)\*\*: (.+)$", PAGE, re.MULTILINE)

BESIDE = {
    # What programs and their errors are about everywhere; nothing that this project means by them
    # differs from what its reader knows.
    *("busy", "change", "changes", "closed", "clock", "combine", "corrupt", "engine", "error"),
    *("failed", "fixed", "hash", "history", "broken", "ids", "index", "info", "invalid", "json"),
    *("isolated", "known", "list", "loaded", "lost", "many", "misuse", "new", "outcome", "patch"),
    *("query", "registry", "report", "result", "schema", "sequential", "stepping", "storage"),
    *("take", "to", "too", "type", "unknown", "verify", "occurred", "conflict", "blocking", "open"),
    *("contract", "mismatch", "behind", "damage", "diverged"),
    *("built", "emptied", "first", "not", "refused", "unavailable"),
}


def _words(name: str) -> list[str]:
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    return [part for part in parts if part]


def test_term_is_explained_then_in_one_sentence() -> None:
    """A glossary is looked into, not read."""
    assert len(TERMS) == len({name for name, _ in TERMS}) > 20
    for name, sentence in TERMS:
        assert sentence.endswith("."), name
        assert not re.search(r"[.!?] [A-Z]", sentence), f"{name}: more than one sentence"


def _unknown(names: list[str]) -> set[tuple[str, str]]:
    """(name, word) for each word of a name that neither the glossary nor `BESIDE` has."""
    known = set(BESIDE)
    for term, _ in TERMS:
        known |= set(re.findall(r"\w+", term.lower()))
    return {
        (name, word)
        for name in names
        for word in _words(name)
        if word not in known and word.removesuffix("s") not in known
    }


@pytest.mark.parametrize("room", ["eventstore", "eventstore.testing", "reducers", "projections"])
def test_name_is_public_then_its_words_are_known(room: str) -> None:
    """A new public word enters the glossary first."""
    assert _unknown(importlib.import_module(room).__all__) == set()


def test_name_has_a_word_of_its_own_then_it_is_told() -> None:
    """The check of words can fail, and takes plurals and both ways of writing."""
    assert _unknown(["VerifyReports", "take_snapshot", "EventManager", "do_insert"]) == {
        ("EventManager", "manager"),
        ("do_insert", "do"),
        ("do_insert", "insert"),
    }
