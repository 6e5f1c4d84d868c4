"""An embedder behind HTTP, for any endpoint that speaks as OpenAI's `/v1/embeddings` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from ..errors import EmbeddingFailed
from ..retrying import attempts
from .extras import load
from .port import readable
from .units import unit_rows

if TYPE_CHECKING:
    from .port import Vectors

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Answers that say "later": too slow, too early, too many, broken or overloaded just now."""

_RETRY_AFTER_SECONDS_MAX = 60.0
"""A server may ask for a wait; beyond a minute the caller's own retries are the better place."""

_WAIT_SECONDS, _WAIT_JITTER_SECONDS, _WAIT_SECONDS_MAX = 0.25, 1.0, 10.0
"""Between two attempts: doubled each time, with jitter, so that many callers come apart."""

_ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A batch of 256 vectors of 4,096 numbers, twenty characters each, is 21 MB."""


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Vector]


class HttpEmbedder:
    """Asks an OpenAI-compatible endpoint for vectors.

    `url` is what stands before `/embeddings` (such as `https://host/v1`); `model` is sent along.
    `version` is what you call the state of the model there: change it when the vectors change.
    `dimensions` is checked against each answer, and sent along when `send_dimensions` says that
    this model can be asked for a length. `api_key` goes into the Authorization header of this one
    host, and into no error, log or repr; redirects are not followed. Each attempt may take
    `timeout_seconds`; 408, 425, 429, 5xx and lost connections are tried again, `attempts` times and
    `budget_seconds` altogether, with exponential back-off and jitter, or when the server says.

    It belongs to the event loop of its first call. Close it with `aclose()` or `async with`. Comes
    with the extra `http-embeddings`; raises `ExtraMissing` without it.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: str,
        dimensions: int,
        api_key: str | None = None,
        batch_max: int = 128,
        timeout_seconds: float = 30.0,
        attempts: int = 5,
        budget_seconds: float = 120.0,
        send_dimensions: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url must hold no user, password or query: it is shown in errors")
        if dimensions < 1 or batch_max < 1 or attempts < 1:
            raise ValueError("dimensions, batch_max and attempts must be at least 1")
        self._http = load("httpx2", extra="http-embeddings")
        self.name = f"{parts.hostname}/{model}"
        self.version = version
        self.dimensions = dimensions
        self.batch_max = batch_max
        self._url = f"{url.rstrip('/')}/embeddings"
        self._request: dict[str, Any] = {"model": model, "encoding_format": "float"}
        if send_dimensions:
            self._request["dimensions"] = dimensions
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._budget_seconds = budget_seconds
        self._client: Any = None

    def __repr__(self) -> str:
        return f"HttpEmbedder({self.name!r}, version={self.version!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes its connections; a later call opens them again. Cancelled, they are dropped."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors, as `Embedder.embed` says; cancelling drops the request.

        Raises `EmbeddingFailed` when the endpoint refuses, stays away longer than was allowed, or
        gives something else than these vectors.
        """
        taken = readable(texts, self.batch_max)
        rows: list[list[float]] = []
        if taken:
            async for attempt in attempts(
                _may_pass,
                attempts_max=self._attempts,
                timeout_seconds=self._budget_seconds,
                wait_initial=_WAIT_SECONDS,
                wait_max=_WAIT_SECONDS_MAX,
                wait_jitter=_WAIT_JITTER_SECONDS,
                wait_asked=_asked_wait,
            ):
                with attempt:
                    rows = await self._ask(taken)
        return unit_rows(rows, count=len(taken), dimensions=self.dimensions, name=self.name)

    async def _ask(self, texts: list[str]) -> list[list[float]]:
        """One attempt."""
        if self._client is None:
            self._client = self._http.AsyncClient(timeout=self._timeout_seconds)
        request = self._client.build_request(
            "POST", self._url, json={**self._request, "input": texts}, headers=self._headers
        )
        failure: Exception | None = None
        body = bytearray()
        try:
            answer = await self._client.send(request, stream=True)
            try:
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _ANSWER_BYTES_MAX:
                        break
            finally:
                await answer.aclose()
        except self._http.RequestError as lost:
            failure = lost
        if failure is not None:
            # The library's error holds the request, and that the key: only its name goes on, and
            # outside of the `except`, so that it is not kept as the context of this one either.
            retryable = isinstance(failure, self._http.TransportError)
            raise EmbeddingFailed(
                f"{self.name}: no answer: {type(failure).__name__}", retryable=retryable
            )
        if answer.status_code != 200:
            raise self._refused(answer)
        if len(body) > _ANSWER_BYTES_MAX:
            raise EmbeddingFailed(
                f"{self.name}: an answer over {_ANSWER_BYTES_MAX} bytes", retryable=False
            )
        return self._rows(bytes(body), len(texts))

    def _refused(self, answer: Any) -> EmbeddingFailed:
        """What an answer other than 200 means; its body is left out, it may repeat the texts."""
        status = int(answer.status_code)
        return EmbeddingFailed(
            f"{self.name}: the endpoint answered {status}",
            retryable=status in _RETRIED,
            wait_seconds=_seconds(answer.headers.get("retry-after")),
        )

    def _rows(self, body: bytes, count: int) -> list[list[float]]:
        """The vectors of an answer, by their index; answers come in any order."""
        problem = ""
        try:
            found = {
                vector.index: vector for vector in msgspec.json.decode(body, type=_Answer).data
            }
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Its message may quote the answer.
            found, problem = {}, "an answer that is not a list of vectors"
        if not problem and sorted(found) != list(range(count)):
            problem = f"{len(found)} vectors for {count} texts"
        lengths = {len(vector.embedding) for vector in found.values()}
        if not problem and lengths != {self.dimensions}:
            problem = f"vectors of length {sorted(lengths)}, expected {self.dimensions}"
        if problem:
            raise EmbeddingFailed(f"{self.name}: {problem}", retryable=False)
        return [found[index].embedding for index in range(count)]


def _may_pass(failure: BaseException) -> bool:
    return isinstance(failure, EmbeddingFailed) and failure.retryable


def _asked_wait(failure: BaseException) -> float | None:
    """How long to wait before the next attempt where the server said so."""
    return failure.wait_seconds if isinstance(failure, EmbeddingFailed) else None


def _seconds(header: str | None) -> float | None:
    """A Retry-After header in seconds; its other form, a date, is left to the back-off."""
    try:
        seconds = float(header) if header is not None else math.nan
    except ValueError:
        return None
    return min(seconds, _RETRY_AFTER_SECONDS_MAX) if seconds >= 0 else None
