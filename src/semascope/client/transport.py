"""How a request travels: one function, so that tests can hand in another.

Knows HTTP; no route and no record.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from semascope.errors import ServeError

_PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    pieces: Iterator[bytes]
    """The body as it comes; closing the iterator hangs up."""

    def read(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


class Transport(Protocol):
    """Sends one request."""

    def __call__(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """``path`` begins with a slash and holds the query."""
        ...


def over_http(address: str, timeout: float = 600.0) -> Transport:
    """Requests to ``http://host:port``, one connection each."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServeError(f"{address!r} is no address: write http://127.0.0.1:8000, say.")
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    host, port, prefix = parts.hostname, parts.port, parts.path.rstrip("/")

    def send(method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        connection = kinds[parts.scheme](host, port, timeout=timeout)
        try:
            connection.request(method, prefix + path, body=body, headers=dict(headers))
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServeError(
                f"Nobody answers at {address} ({error}): start it with semascope serve."
            ) from error
        return Answer(response.status, _pieces(connection, response))

    return send


def _pieces(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Iterator[bytes]:
    try:
        while piece := response.read1(_PIECE):
            yield piece
    except (OSError, http.client.HTTPException) as error:
        raise ServeError(f"The server hung up in the middle of its answer ({error}).") from error
    finally:
        connection.close()
