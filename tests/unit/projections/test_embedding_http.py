"""The embedder behind HTTP, against a server in this process that answers as it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from projections.embedding import EmbeddingFailed, HttpEmbedder
from projections.embedding.endpoint import _asked_wait, _may_pass, _seconds

KEY = "sk-secret-4711"
TEXT = "a private memory"
Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class Endpoint:
    """A real server on a port of its own. `answers` are given one after the other, the last one
    again and again; `requests` are those that came."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [vectors]
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.headers: dict[str, str] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, dict(self.headers), body))
                last = len(endpoint.answers) == 1
                answer = endpoint.answers[0] if last else endpoint.answers.pop(0)
                status, content = answer(body)
                if status == 0:  # hang up in the middle
                    self.connection.close()
                    self.close_connection = True
                    return
                sent = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**endpoint.headers, "Content-Length": str(len(sent))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def embedder(self, **options: Any) -> HttpEmbedder:
        """One that asks this server."""
        given: dict[str, Any] = {"version": "1", "dimensions": 3, "api_key": KEY, "attempts": 3}
        given |= options
        return HttpEmbedder(self.url, "small", **given)

    def close(self) -> None:
        """Ends the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def vectors(body: dict[str, Any]) -> tuple[int, Any]:
    """What a good server answers, in an order of its own."""
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0, 0.0]}
        for index, text in enumerate(body["input"])
    ]
    return 200, {"object": "list", "data": data[::-1], "model": "small", "usage": {}}


def says(status: int, content: Any = b"{}") -> Answer:
    """A server that always says this."""
    return lambda _: (status, content)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A server; retries are made without waiting for them, and no proxy stands between."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("projections.embedding.endpoint._WAIT_SECONDS", 0.0)
    monkeypatch.setattr("projections.embedding.endpoint._WAIT_JITTER_SECONDS", 0.0)
    server = Endpoint()
    yield server
    server.close()


async def _embed(embedder: HttpEmbedder, texts: list[str]) -> np.ndarray:
    async with embedder:
        return await embedder.embed(texts)


async def test_the_endpoint_answers_then_rows_are_in_the_order_of_the_texts(
    endpoint: Endpoint,
) -> None:
    """Sorted by the answer's index, scaled to length one, asked for as the API wants it."""
    rows = await _embed(endpoint.embedder(), ["four", "to"])
    assert rows.dtype == np.float32
    assert rows.tolist() == [
        [pytest.approx(4 / 17**0.5), pytest.approx(1 / 17**0.5), 0],
        [pytest.approx(2 / 5**0.5), pytest.approx(1 / 5**0.5), 0],
    ]
    path, headers, body = endpoint.requests[0]
    assert path == "/v1/embeddings"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "small", "encoding_format": "float", "input": ["four", "to"]}


async def test_there_is_nothing_to_embed_then_nothing_is_asked(endpoint: Endpoint) -> None:
    """No request for no text."""
    assert (await _embed(endpoint.embedder(), [])).shape == (0, 3)
    assert endpoint.requests == []


async def test_dimensions_are_to_be_sent_then_they_are(endpoint: Endpoint) -> None:
    """Models that can shorten their vectors are asked to."""
    await _embed(endpoint.embedder(send_dimensions=True, api_key=None), ["x"])
    _, headers, body = endpoint.requests[0]
    assert body["dimensions"] == 3
    assert "Authorization" not in headers


@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503, 504])
async def test_the_endpoint_says_later_then_it_is_asked_again(
    endpoint: Endpoint, status: int
) -> None:
    """Overload, breakdowns and lost connections (0) are tried again."""
    endpoint.answers = [says(status), says(status), vectors]
    assert (await _embed(endpoint.embedder(), ["x"])).shape == (1, 3)
    assert len(endpoint.requests) == 3


async def test_the_endpoint_stays_broken_then_the_attempts_end(endpoint: Endpoint) -> None:
    """A budget, and an error that says that it may pass."""
    endpoint.answers = [says(503)]
    with pytest.raises(
        EmbeddingFailed, match=r"127\.0\.0\.1/small: the endpoint answered 503"
    ) as e:
        await _embed(endpoint.embedder(), ["x"])
    assert e.value.retryable
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
async def test_the_endpoint_refuses_then_it_is_asked_once(endpoint: Endpoint, status: int) -> None:
    """What is wrong stays wrong; a redirect is not followed with the key."""
    endpoint.headers = {"Location": "http://127.0.0.1:9/elsewhere"}
    endpoint.answers = [says(status, TEXT.encode())]
    with pytest.raises(EmbeddingFailed, match=f"answered {status}") as e:
        await _embed(endpoint.embedder(), [TEXT])
    assert not e.value.retryable
    assert len(endpoint.requests) == 1


async def test_the_endpoint_is_silent_then_the_attempt_times_out(endpoint: Endpoint) -> None:
    """A server that takes the request and says nothing is tried again, then given up."""
    release = threading.Event()

    def silent(_: dict[str, Any]) -> tuple[int, Any]:
        release.wait(30)
        return 0, b""

    endpoint.answers = [silent]
    try:
        with pytest.raises(EmbeddingFailed, match="no answer: ReadTimeout") as e:
            await _embed(endpoint.embedder(timeout_seconds=0.05), ["x"])
    finally:
        release.set()
    assert e.value.retryable
    assert len(endpoint.requests) == 3


async def test_nobody_listens_then_it_is_a_failure_that_may_pass(endpoint: Endpoint) -> None:
    """A server that is not there is one that may come back."""
    embedder = endpoint.embedder()
    endpoint.close()
    with pytest.raises(EmbeddingFailed, match="no answer: ConnectError") as e:
        await _embed(embedder, ["x"])
    assert e.value.retryable


GOOD = {"index": 0, "embedding": [1.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not json", "not a list of vectors"),
        (b"\xff", "not a list of vectors"),
        ({"data": [{"index": 0, "embedding": ["1", 2, 3]}]}, "not a list of vectors"),
        ({"data": []}, "0 vectors for 1 texts"),
        ({"data": [GOOD, {**GOOD, "index": 1}]}, "2 vectors for 1 texts"),
        ({"data": [{**GOOD, "index": 7}]}, "1 vectors for 1 texts"),
        ({"data": [{**GOOD, "embedding": [1.0]}]}, r"length \[1\], expected 3"),
        (b'{"data": [{"index": 0, "embedding": [1e999, 0, 0]}]}', "not a list|not finite"),
    ],
)
async def test_the_answer_is_nonsense_then_it_is_told_and_not_kept(
    endpoint: Endpoint, content: Any, told: str
) -> None:
    """Too few, too many, another length, no numbers: never a vector, never tried again."""
    endpoint.answers = [says(200, content)]
    with pytest.raises(EmbeddingFailed, match=told) as e:
        await _embed(endpoint.embedder(), ["x"])
    assert not e.value.retryable
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [0, 401, 503])
async def test_a_call_fails_then_neither_key_nor_text_is_in_error_or_log(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Not in messages, causes, contexts, tracebacks, reprs or anything that was logged."""
    caplog.set_level(logging.DEBUG)
    endpoint.answers = [says(status, f"{KEY} {TEXT}".encode())]
    embedder = endpoint.embedder()
    with pytest.raises(EmbeddingFailed) as e:
        await _embed(embedder, [TEXT])
    shown = "".join(traceback.format_exception(e.value)) + repr(embedder) + caplog.text
    chained: list[BaseException | None] = [e.value.__cause__, e.value.__context__]
    assert not any(type(error).__module__.startswith("httpx") for error in chained)
    assert "127.0.0.1/small" in shown
    assert KEY not in shown
    assert TEXT not in shown


async def test_the_caller_is_cancelled_then_the_next_call_is_answered(endpoint: Endpoint) -> None:
    """A cancelled call leaves the embedder as it was."""
    arrived, release = threading.Event(), threading.Event()

    def held(body: dict[str, Any]) -> tuple[int, Any]:
        arrived.set()
        release.wait(30)
        return vectors(body)

    endpoint.answers = [held, vectors]
    async with endpoint.embedder() as embedder:
        call = asyncio.create_task(embedder.embed(["x"]))
        await asyncio.to_thread(arrived.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await embedder.embed(["x"])).shape == (1, 3)
        release.set()


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "host/v1", "https://user:secret@host/v1", "https://host/v1?key=secret"]
)
def test_a_url_would_show_a_secret_or_is_none_then_it_is_refused_unseen(url: str) -> None:
    """It stands in errors, so it holds no secret; the refusal does not repeat it."""
    with pytest.raises(ValueError, match="url must") as e:
        HttpEmbedder(url, "small", version="1", dimensions=3)
    assert "secret" not in str(e.value)


def test_the_server_asks_for_a_wait_then_it_is_granted_up_to_a_minute() -> None:
    """Seconds are kept to; a date, nonsense or a wait in the past is not."""
    assert [_seconds(header) for header in ("7", "0", "3600", "soon", "-1", "nan", None)] == [
        7.0, 0.0, 60.0, None, None, None, None,
    ]  # fmt: skip


async def test_too_many_were_asked_then_the_wait_is_the_server_s_own(endpoint: Endpoint) -> None:
    """429 with Retry-After: the next attempt comes when the server said."""
    endpoint.headers = {"Retry-After": "3"}
    endpoint.answers = [says(429)]
    with pytest.raises(EmbeddingFailed) as e:
        await _embed(endpoint.embedder(attempts=1), ["x"])
    assert _may_pass(e.value)
    assert _asked_wait(e.value) == 3.0
    assert not _may_pass(ValueError())
