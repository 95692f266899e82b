"""The rating sheet, opened from disk: graded by keyboard alone, kept over a reload, downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semascope.api.rating_sheet import SheetItem, sheet_page
from semascope.evidence.types import EvidenceSample, Exemplar
from semascope.explain.human.rating_sheet import read_ratings
from semascope.subject.types import Kind

expect = pytest.importorskip("playwright.sync_api").expect


def seen() -> Exemplar:
    """A picture of four patches, active on one."""
    corners = np.array([[0, 0, 64, 64], [64, 0, 128, 64], [0, 64, 64, 128], [64, 64, 128, 128]])
    sample = EvidenceSample(
        row=0, id="p", tokens=("<image>",) * 4, kinds=np.full(4, Kind.IMAGE, np.int8),
        rects=corners.astype(np.float32), image=np.zeros(4, np.int16), media=("a",),
        sizes=((128, 128),), split="score",
    )  # fmt: skip
    return Exemplar(sample, np.array([0, 2, 0, 0], np.float32))


def read() -> Exemplar:
    """A text with markup in it, active on its last token."""
    tokens = (" <b>bold</b>", " and", " <img src=x onerror=alert(1)>")
    sample = EvidenceSample(
        row=1, id="t", tokens=tokens, kinds=np.full(3, Kind.TEXT, np.int8),
        rects=np.full((3, 4), np.nan, np.float32), image=np.full(3, -1, np.int16), media=(),
        sizes=(), split="score",
    )  # fmt: skip
    return Exemplar(sample, np.array([0, 0, 1], np.float32))


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    labels = ("mango", "<i>tent</i>", "owl")
    items = [
        SheetItem(f"{i:016x}", label, f"Pictures of {label}.", [seen(), read()])
        for i, label in enumerate(labels)
    ]
    file = tmp_path / "sheet.html"
    file.write_text(
        sheet_page(items, lambda _: Image.new("RGB", (128, 128), "teal"), dictionary="d/m", seed=5),
        "utf-8",
    )
    return file


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page of its own; the test fails if it logs an error or asks anything of a host."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    found, complaints, asked = context.new_page(), [], []
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    found.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else asked.append(r.url),
    )
    yield found
    context.close()
    assert not complaints and not asked


def test_a_sheet_is_rated_by_keyboard_and_downloaded(
    page: Any, sheet: Path, tmp_path: Path
) -> None:
    page.goto(sheet.as_uri())
    page.get_by_label("Your name").fill("Ana")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="mango")).to_be_visible()
    expect(page.locator("article:visible .picture img")).to_have_count(2)
    assert page.locator("article:visible .heat").evaluate("image => image.naturalWidth") == 128
    page.keyboard.press("1")
    # What comes from data is text, not markup.
    expect(page.get_by_role("heading", name="<i>tent</i>")).to_be_visible()
    expect(page.locator("article:visible")).to_contain_text("<img src=x onerror=alert(1)>")
    page.keyboard.press("n")
    page.keyboard.type("4 is not a grade here")
    page.keyboard.press("Enter")
    page.keyboard.press("4")
    expect(page.get_by_text("2 of 3 rated")).to_be_visible()

    page.reload()
    expect(page.get_by_label("Your name")).to_have_value("Ana")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="owl")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Note")).to_have_value("4 is not a grade here")
    expect(page.locator('.grade[data-grade="silly"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("h")
    expect(page.locator("article:visible .heat")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    expect(page.get_by_role("heading", name="All rated")).to_be_visible()
    expect(page.locator("#tally")).to_contain_text("silly133 %")

    with page.expect_download() as saved:
        page.keyboard.press("d")
    file = tmp_path / "back.json"
    saved.value.save_as(file)
    found = read_ratings(file)
    assert (found.rater, found.seed, found.size, found.dictionary) == ("Ana", 5, 3, "d/m")
    assert [one.grade for one in found.ratings] == ["right", "silly", "wrong"]
    assert found.ratings[1].note == "4 is not a grade here"
    assert json.loads(file.read_text("utf-8"))["kind"] == "semascope ratings"
