"""Semantic recall: searches of a large vector view, in a process that goes on and a fresh one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..bench import Bench, url_of
from ..measuring import Bar, Line, Section, Series
from .importing import recorded_data
from .vectors import K, fill, first_query_ms, search_times, texts

_NAMES = ("vector p50", "vector p99", "text p50", "hybrid p50", "user p50", "recall")


async def searching(bench: Bench) -> Section:
    """Searches by vector, by text, hybrid and of one user; recall; the first search of all."""
    sizes, source = bench.sizes, recorded_data() / "memorybank" / "memory_bank_en.json"
    if not source.is_file():
        return Section("vectors", [], not_run="the recorded sessions are not on this machine")
    taken: dict[str, list[float]] = {name: [] for name in (*_NAMES, "first")}
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        url = url_of(Path(folder) / "recall.db")
        filled, indexed = await fill(url, texts(source, sizes.vector_rows))
        questions = texts(source, sizes.searches, pieces=1, seed=2)
        for _ in range(sizes.rounds):
            taken["first"].append(await first_query_ms(url))
            times = await search_times(url, questions)
            for name in _NAMES:
                taken[name].append(times[name])
    series = {name: Series(tuple(values)) for name, values in taken.items()}
    work = f"vector search, {sizes.vector_rows:,} x 256, top {K}"

    def line(name: str, what: str, limit: float | None) -> Line:
        bar = None if limit is None else Bar(limit, "ms", at_most=True)
        judged = None if bar is None else series[name]
        return Line(f"{work}: {what}", series[name], "ms", judged=judged, judged_unit="ms", bar=bar)

    return Section(
        "vectors",
        [
            line("vector p50", "by a vector, p50", 3),
            line("vector p99", "by a vector, p99", None),
            line("text p50", "by a text that is embedded first, p50", None),
            line("hybrid p50", "by a text, meaning and words, p50", None),
            line("user p50", "by a vector among one user's rows of 50, p50", None),
            Line(
                f"{work}: recall@{K}",
                series["recall"],
                "of exact",
                judged=series["recall"],
                judged_unit="of exact",
                bar=Bar(0.95, "of exact"),
            ),
            line("first", "first of a fresh process", 500),
            Line(f"{work}: filled", Series((sizes.vector_rows / filled,)), "/s"),
            Line(f"{work}: indexed", Series((sizes.vector_rows / indexed,)), "/s"),
        ],
        [
            "The embedded view: vectors in the store's SQLite file, an index beside it. Texts are"
            " sentences of MemoryBank, three in each and one of 5,000 topics, embedded with the"
            f" default model; {sizes.searches} searches a round, one after the other, rows fetched."
            " Recall is against comparing every vector. The first search of a fresh process opens"
            " the kept index; importing packages and loading the model are not in it. Filling and"
            " indexing are done once.",
        ],
    )
