"""The door: hosts, origins, tokens, sizes, headers, and pictures that are not pictures."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from semascope.serve.app import make_app
from semascope.serve.guard import is_loopback
from semascope.serve.testing import DrawnExplorer

TOKEN = "correct horse; battery=staple"


@pytest.fixture
def locked(drawn: DrawnExplorer, tmp_path: Path) -> Iterator[TestClient]:
    app = make_app(drawn, token=TOKEN, static=tmp_path)
    with TestClient(app, base_url="http://lab.example:8000", follow_redirects=False) as client:
        yield client


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind)
    return buffer.getvalue()


def send(client: TestClient, body: bytes, name: str = "x.png") -> tuple[int, dict[str, object]]:
    got = client.post("/api/pictures", files={"file": (name, body, "image/png")})
    return got.status_code, got.json()


def test_another_name_for_loopback_is_refused(client: TestClient) -> None:
    """DNS rebinding: a page elsewhere that resolves its own name to 127.0.0.1."""
    assert client.get("/api/info", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/api/info", headers={"host": "127.0.0.1:80"}).status_code == 200


def test_another_origin_is_refused(client: TestClient) -> None:
    assert client.get("/api/info", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/info", headers={"origin": "null"}).status_code == 403
    assert client.get("/api/info", headers={"origin": "http://testserver"}).status_code == 200


def test_every_answer_carries_the_policy(client: TestClient) -> None:
    for path in ("/", "/api/info", "/api/nothing", "/media/zz"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_token_by_header_and_by_address(locked: TestClient) -> None:
    assert locked.get("/api/info").status_code == 401
    assert locked.get("/api/info", headers={"authorization": "Bearer no"}).status_code == 401
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert locked.get("/api/info", headers=bearer).status_code == 200
    assert locked.get("/", params={"token": "no"}).status_code == 401
    entered = locked.get("/", params={"token": TOKEN})
    assert entered.status_code == 303 and entered.headers["location"] == "/"
    assert "battery" not in entered.headers["set-cookie"]
    assert locked.get("/api/info").status_code == 200  # the cookie came with it


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_is_kept_by_its_pixels(client: TestClient, kind: str) -> None:
    status, said = send(client, picture(kind))
    assert status == 201 and (said["width"], said["height"]) == (40, 30)
    got = client.get(f"/media/{said['media']}")
    assert Image.open(io.BytesIO(got.content)).size == (40, 30)


def bomb() -> bytes:
    """A PNG of 60,000 × 60,000 pixels in a hundred bytes."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 415),
        (b"%!PS-Adobe-3.0 EPSF", 415),
        (picture()[:60], 415),
        (picture("JPEG")[:200], 415),
        (bomb(), 415),
    ],
    ids=["empty", "svg", "postscript", "cut-png", "cut-jpeg", "bomb"],
)
def test_what_is_no_picture_is_refused(client: TestClient, body: bytes, status: int) -> None:
    got, said = send(client, body)
    assert got == status and said["error"]


def test_too_large_a_body_is_refused_with_and_without_a_length(client: TestClient) -> None:
    big = b"x" * (13 * 2**20)
    assert send(client, big)[0] == 413

    def chunks() -> Iterator[bytes]:
        yield from (big[i : i + 2**20] for i in range(0, len(big), 2**20))

    got = client.post("/api/compare", content=chunks(), headers={"content-type": "text/plain"})
    assert got.status_code == 413


def test_an_upright_picture_comes_of_a_turned_one(client: TestClient) -> None:
    """Phones store pictures lying down and say so in EXIF."""
    lying = Image.new("RGB", (40, 20))
    exif = lying.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    lying.save(buffer, "JPEG", exif=exif)
    _, said = send(client, buffer.getvalue())
    assert (said["width"], said["height"]) == (20, 40)


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_what_loopback_is(host: str, here: bool) -> None:
    assert is_loopback(host) == here
