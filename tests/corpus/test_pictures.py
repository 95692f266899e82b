"""Every mode of picture comes out upright and RGB; a damaged one is a BadRow with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semascope.corpus.media.pictures import decode
from semascope.corpus.tabular.base import BadRow


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    return [image.getpixel(at) for at in ((0, 0), (image.width - 1, 0), (0, image.height - 1))]


def test_exif_rotation_is_undone() -> None:
    """A phone's picture is stored lying down: unturned, every heat map would lie on its side."""
    upright = Image.new("RGB", (4, 8), "blue")
    upright.paste("red", (0, 0, 4, 4))  # red above, blue below
    undo = {3: 180, 6: 90, 8: 270}
    for tag, angle in undo.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        found = decode(saved(upright.rotate(angle, expand=True), exif=exif))
        assert found.size == (4, 8)
        assert found.getpixel((1, 1)) == (255, 0, 0), f"orientation {tag}"
        assert found.getpixel((1, 6)) == (0, 0, 255)


def test_transparency_lies_over_white() -> None:
    """A transparent pixel keeps a hidden colour, often black: shown, it invents a picture."""
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    half = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    grey = Image.new("LA", (2, 2), (0, 0))
    assert decode(saved(clear)).getpixel((0, 0)) == (255, 255, 255)
    assert decode(saved(grey)).getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = decode(saved(half)).getpixel((0, 0))
    assert red == 255 and abs(green - 127) <= 1 and abs(blue - 127) <= 1


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 750)
    image.putpixel((1, 0), 1)
    assert decode(saved(image)).getpixel((1, 0)) == (0, 255, 0)
    assert decode(saved(image, transparency=1)).getpixel((1, 0)) == (255, 255, 255)
    assert decode(saved(image, "GIF")).getpixel((0, 0)) == (255, 0, 0)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """Pillow clips 16-bit grey at 255, which turns nearly every such picture white."""
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    found = decode(saved(Image.fromarray(values)))
    assert [found.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]
    tiff = decode(saved(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF"))
    assert [tiff.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize(
    ("mode", "kind", "fill", "expected"),
    [
        ("CMYK", "JPEG", (0, 255, 255, 0), (254, 0, 0)),
        ("1", "PNG", 1, (255, 255, 255)),
        ("L", "JPEG", 77, (77, 77, 77)),
        ("RGB", "WEBP", (10, 200, 30), (10, 200, 30)),
        ("YCbCr", "JPEG", (76, 84, 255), (254, 0, 0)),
    ],
)
def test_other_modes(mode: str, kind: str, fill: object, expected: tuple[int, ...]) -> None:
    found = decode(saved(Image.new(mode, (16, 16), fill), kind))
    assert found.mode == "RGB"
    assert max(abs(a - b) for a, b in zip(found.getpixel((8, 8)), expected, strict=True)) <= 4


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = decode(data).getpixel((1, 1))
        assert red > 200 and blue < 50, kind


@pytest.mark.parametrize("size", [(1, 1), (20000, 3), (1, 3000)])
def test_odd_sizes_keep_their_size(size: tuple[int, int]) -> None:
    assert decode(saved(Image.new("RGB", size, "green"))).size == size


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(9000, 9000), (10000, 10000), (60000, 60000)])
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    """Under our bound, above Pillow's warning, above its error: all three are refused alike."""
    with pytest.raises(BadRow, match="bomb"):
        decode(bomb(*size))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_picture_cut_short_is_a_bad_row(kind: str, share: float) -> None:
    """Whatever Pillow raises, and it raises eight kinds of thing, the reader sees one."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(BadRow):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(BadRow):
        decode(data)


def test_flipped_bytes_never_escape_as_another_error() -> None:
    """A thousand damaged files: each gives a picture or a BadRow."""
    r = np.random.default_rng(1)
    noise = r.integers(0, 255, (24, 24, 3), np.uint8)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        data = np.frombuffer(saved(Image.fromarray(noise), kind), np.uint8)
        for _ in range(200):
            damaged = data.copy()
            damaged[r.integers(0, len(data), 6)] = r.integers(0, 255, 6)
            try:
                assert decode(damaged.tobytes()).mode == "RGB"
            except BadRow:
                continue
