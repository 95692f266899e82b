"""Checks before every request: host and origin, token, size of the body; and security headers.

Plain ASGI. Without a token, only requests that name a loopback host are answered, so that a web
page elsewhere that resolves its own name to 127.0.0.1 learns nothing (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semascope.serve.explorer.uploads import MAX_BYTES

TOKEN_COOKIE = "semascope_token"
CLIENT_COOKIE = "semascope_client"
MAX_BODY = MAX_BYTES + 2**16

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    name = host.strip("[]").lower()
    if name in ("localhost", "testserver") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI application behind these checks."""

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self.app = app
        self.token = token
        self._badge = hashlib.sha256((token or "").encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client, is_new = _client(headers, scope)
        scope.setdefault("state", {})["client"] = client
        send = _dressed(send, client if is_new else None)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
        elif self.token is not None and self._entry(scope) is not None:
            await _enter(send, self._badge)
        else:
            await self._bounded(scope, receive, send, headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self.token is None and not is_loopback(name):
            return 403, "Forbidden", "This server answers on this machine only; see --token."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "Forbidden", "Requests from other web pages are refused."
        if self.token is not None and not self._known(scope, headers):
            return (
                401,
                "Unauthorized",
                (
                    "This server asks for its token: open the address that it printed when it "
                    "started, or send the header 'Authorization: Bearer TOKEN'."
                ),
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            return 413, "TooMuch", f"The request is too large (limit {MAX_BODY // 2**20} MB)."
        return None

    def _known(self, scope: Scope, headers: Headers) -> bool:
        if (entry := self._entry(scope)) is not None:
            return self._matches(entry)
        cookie = SimpleCookie(headers.get("cookie", "")).get(TOKEN_COOKIE)
        if cookie is not None and hmac.compare_digest(cookie.value.encode(), self._badge.encode()):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._matches(given.strip())

    def _matches(self, given: str) -> bool:
        badge = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
        return hmac.compare_digest(badge, self._badge)

    def _entry(self, scope: Scope) -> str | None:
        """The token in the address of the page itself, ``/?token=…``."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return None
        return next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("token", [])), None)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Limit the body as it arrives: a chunked one does not declare its length."""
        seen, started, refused = 0, False, False

        async def counted() -> Message:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                refused = not started
                return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            if not refused:
                await send(message)

        try:
            await self.app(scope, counted, watched)
        except ClientDisconnect:
            if not refused:
                raise
        if refused:
            await _answer(send, 413, "TooMuch", "The request is larger than the server accepts.")


def _client(headers: Headers, scope: Scope) -> tuple[str, bool]:
    """The client of a request, by the browser's cookie, and whether the cookie is new."""
    cookie = SimpleCookie(headers.get("cookie", "")).get(CLIENT_COOKIE)
    if cookie is not None and 16 <= len(cookie.value) <= 64 and cookie.value.isalnum():
        return cookie.value, False
    if "sec-fetch-mode" in headers:  # a browser, on its first visit
        return secrets.token_hex(16), True
    return f"address:{(scope.get('client') or ('?',))[0]}", False


def _dressed(send: Send, new_client: str | None) -> Send:
    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            if new_client is not None:
                headers.append(
                    "set-cookie",
                    f"{CLIENT_COOKIE}={new_client}; Path=/; HttpOnly; SameSite=Strict",
                )
        await send(message)

    return dressed


async def _answer(send: Send, status: int, kind: str, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": kind}}).encode()
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", b"application/json")],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _enter(send: Send, badge: str) -> None:
    """Move the token from the address into a cookie, so that copied links do not contain it."""
    cookie = f"{TOKEN_COOKIE}={badge}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"
    start = {
        "type": "http.response.start",
        "status": 303,
        "headers": [(b"location", b"/"), (b"set-cookie", cookie.encode("latin-1"))],
    }
    await send(start)
    await send({"type": "http.response.body", "body": b""})
