"""Models that run in the process: wordllama as it is installed, and libraries that are not."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from projections.embedding import ExtraMissing, SentenceTransformersEmbedder, WordLlamaEmbedder
from projections.embedding.local import _PADDED_CHARS_MAX, _groups


@pytest.fixture(scope="module")
def model() -> WordLlamaEmbedder:
    """One for all tests: loading it takes half a second."""
    return WordLlamaEmbedder()


async def test_texts_mean_the_same_then_wordllama_puts_them_near(model: WordLlamaEmbedder) -> None:
    """Float32 rows of length one, in order; an empty text has none."""
    texts = ["I want to return my running shoes", "sending sneakers back", "tax law of Peru", ""]
    rows = await model.embed(texts)
    assert rows.dtype == np.float32
    assert rows.shape == (4, model.dimensions)
    assert np.allclose(np.linalg.norm(rows[:3], axis=1), 1, atol=1e-6)
    assert not rows[3].any()
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.1


async def test_a_text_comes_with_others_then_its_vector_is_the_same(
    model: WordLlamaEmbedder,
) -> None:
    """What a text is batched with leaves no trace: rebuilt views equal live ones, to the bit."""
    texts = [
        "short",
        "",
        "a somewhat longer text, with \u00fcml\u00e4uts and \u4f60\u597d",
        "x y " * 2_000,
        "last",
    ]
    together = await model.embed(texts)
    for text, row in zip(texts, together, strict=True):
        assert np.array_equal((await model.embed([text]))[0], row)


def test_the_network_is_cut_then_wordllama_loads_all_the_same(tmp_path: Path) -> None:
    """In a process that can open no connection, with an empty home to find nothing in."""
    code = """
        import asyncio, socket
        def refused(*args, **kwargs):
            raise OSError("the network is cut")
        socket.socket.connect = socket.getaddrinfo = refused
        from projections.embedding import WordLlamaEmbedder
        rows = asyncio.run(WordLlamaEmbedder().embed(["offline"]))
        print(rows.shape, bool(rows.any()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("(1, 256) True\n", 0), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_wordllama_is_loaded_then_the_logging_of_the_application_is_left_alone() -> None:
    """The library configures the root logger when it is imported; ours it does not."""
    code = """
        import asyncio, logging
        from projections.embedding import WordLlamaEmbedder
        asyncio.run(WordLlamaEmbedder().embed(["text"]))
        print(logging.getLogger().handlers, logging.getLogger().level)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"[] {logging.WARNING}\n", done.stderr


async def test_the_model_computes_then_the_loop_goes_on(model: WordLlamaEmbedder) -> None:
    """Other coroutines run while a batch is embedded."""
    turns = 0
    computing = asyncio.create_task(model.embed(["some words to count " * 200] * 100))
    while not computing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    assert (await computing).shape == (100, 256)


def test_texts_of_many_lengths_are_grouped_then_no_group_pads_beyond_its_bound() -> None:
    """All are taken once, and one long text makes no gigabyte of the others."""
    texts = ["x" * length for length in [30_000, 10, 20_000, 5, 0, 30_000] + [700] * 250]
    groups = list(_groups(texts))
    assert sorted(index for group in groups for index in group) == list(range(len(texts)))
    for group in groups:
        longest = max(len(texts[index]) for index in group)
        assert len(group) == 1 or longest * len(group) <= _PADDED_CHARS_MAX


def test_wordllama_is_not_installed_then_the_error_names_the_extra() -> None:
    """At once, when the embedder is made: not when the first memory comes."""
    code = """
        import importlib.metadata
        def absent(name):
            raise importlib.metadata.PackageNotFoundError(name)
        importlib.metadata.version = absent
        from projections.embedding import WordLlamaEmbedder
        WordLlamaEmbedder()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "wordllama is not installed; it comes with: pip install 'agent-eventstore[vector]'"
    )


async def test_sentence_transformers_is_not_installed_then_the_error_names_the_extra() -> None:
    """The library is not among the test dependencies, so this is what a user without it sees."""
    embedder = SentenceTransformersEmbedder("some/model", revision="1", dimensions=4)
    with pytest.raises(ExtraMissing, match=r"agent-eventstore\[sentence-transformers\]"):
        await embedder.embed(["text"])


async def test_sentence_transformers_is_there_then_it_is_called_as_its_manual_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revision is asked for, the texts go in one list, rows come back with length one.

    The library here is a module of a few lines on the path: the real one brings gigabytes. This
    proves the shape of the call, nothing about the real library's answers.
    """
    (tmp_path / "sentence_transformers.py").write_text(
        textwrap.dedent("""
            import numpy as np
            calls = []
            class SentenceTransformer:
                def __init__(self, model, **options):
                    calls.append((model, options))
                def encode(self, texts, **options):
                    calls.append((texts, options))
                    return np.array([[3.0, 4.0]] * len(texts))
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    embedder = SentenceTransformersEmbedder(
        "org/model", revision="abc", dimensions=2, local_files_only=True
    )
    rows = await embedder.embed(["one", "two"])
    library = sys.modules.pop("sentence_transformers")
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]] * 2
    assert library.calls == [
        ("org/model", {"revision": "abc", "local_files_only": True}),
        (["one", "two"], {"convert_to_numpy": True, "show_progress_bar": False}),
    ]
    assert (embedder.name, embedder.version) == ("sentence-transformers/org/model", "abc")
