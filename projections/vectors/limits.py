"""The bounds of the vector index, each with its reason."""

from __future__ import annotations

DIMENSIONS_MAX = 4_096
"""The longest vectors of today's models."""

EXACT_ROWS_MAX = 10_000
"""Up to here every row is compared: exact, and nothing to build. With 256 dimensions comparing
5,000 rows took 0.2 ms and the graph 0.35; 10,000 took 0.4 and 0.4; 20,000, which no longer fit the
caches, 6 and 0.6."""

TAIL_ROWS_MAX = 8_192
"""Rows that came after the graph was built are compared one by one; from here on, folding them
into the graph is due. Comparing them costs under a millisecond, about what the graph costs."""

TAIL_ROWS_HARD_MAX = 16_384
"""Where writing itself folds, because nobody else did: a search stays within some milliseconds."""

DEAD_SHARE_MAX = 0.5
"""Replaced and removed rows stay in the graph until they are half of it: then a search has to fetch
twice as many, and building anew costs one insertion for each row that went."""

GRAPH_CONNECTIVITY = 16
"""Neighbours of a row. Twice as many took a third longer to build and 40% more memory for 0.5%
more recall on 100,000 vectors of real text."""

GRAPH_EXPANSION_ADD = 128
"""How widely a row's neighbours are looked for when it enters. With 200 (and twice the neighbours)
recall rose by 0.5%."""

GRAPH_EXPANSIONS_SEARCH = (96, 192, 384)
"""How widely a search may look, tried from the first on. On 100,000 vectors of real text 64 found
98.9%, 128 99.4%, 256 99.9%; at 512 a search costs half of comparing every row."""

RECALL_MIN = 0.97
"""What a graph must find of its own rows' nearest ones to be asked. Strangers find a little less;
0.95 is what is promised for those."""

TRIED_ROWS = 64
TRIED_RESULTS = 10
"""640 results to find: an estimate within about one per cent, in a quarter of a second."""

FETCH_MIN = 64
"""Candidates that the graph gives at least. It keeps half-precision numbers; the candidates are
ranked again with the full ones, and a rank near the tenth may have been lost by rounding."""

FETCH_MAX = 4_096
"""Where a search that found too few allowed rows through the graph compares all allowed ones: about
as many comparisons as the graph would make by then."""

RESULTS_MAX = 1_000
"""How many results a search may ask for."""
