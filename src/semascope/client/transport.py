"""How requests are sent: one function, which tests can replace."""

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
    """A response."""

    status: int
    pieces: Iterator[bytes]
    """The body as it arrives; closing the iterator closes the connection."""

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)


class Transport(Protocol):
    """Sends one request."""

    def __call__(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """``path`` begins with a slash and holds the query."""
        ...


def over_http(address: str, timeout: float = 600.0) -> Transport:
    """Send requests to ``http://host:port``, one connection each. ServeError for a bad address."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServeError(
            f"{address!r} is no address: write http://host:port, such as http://127.0.0.1:8000."
        )
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
                f"No server answers at {address} ({error}): start one with semascope serve."
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
        raise ServeError(
            f"The server closed the connection before its answer was complete ({error})."
        ) from error
    finally:
        connection.close()
