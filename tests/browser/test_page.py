"""The page as a person uses it: look, sort, filter, search, open, steer, by mouse and keyboard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)  # a busy machine is slow, and no test is about time
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FEATURE = "/#/feature/resid_post.12/drawn/16"
NARROW = pytest.mark.parametrize("page", [(360, 780)], indirect=True, ids=["360px"])


def titles(page: Any) -> list[str]:
    expect(page.locator("[data-row] h2").first).to_be_visible()
    found: list[str] = page.locator("[data-row] h2").all_inner_texts()
    return found


def painted(page: Any) -> bool:
    """Whether every heat map in sight has pixels of more than one colour."""
    return bool(
        page.evaluate(
            """() => [...document.querySelectorAll('figure canvas')].every((c) => {
              const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
              return new Set(d.filter((_, i) => i % 4 === 0)).size > 4;
            })"""
        )
    )


def test_the_list_shows_features_with_heat(page: Any) -> None:
    page.goto("/")
    assert len(titles(page)) >= 5
    expect(page.get_by_text("320 features")).to_be_visible()
    expect(page.locator("figure canvas").first).to_be_visible()
    for _ in range(100):
        if painted(page):
            return
        page.wait_for_timeout(200)
    raise AssertionError("a heat map stayed blank")


def test_sorting_and_filtering_change_the_list_and_the_address(page: Any) -> None:
    page.goto("/")
    first = titles(page)
    page.get_by_label("Sort by").select_option("label")
    page.get_by_role("radio", name="Text").check()
    expect(page.locator("[data-row] h2").first).to_have_text("Bible verses")
    assert "sort=label" in page.url and "in=text" in page.url
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("[data-row] h2").first).to_have_text(first[0])


def test_a_long_list_keeps_few_rows_alive_and_comes_back_to_its_place(page: Any) -> None:
    page.goto("/#/features?sort=index&order=asc")
    titles(page)
    page.evaluate("window.scrollTo(0, 20000)")
    far = page.locator("[data-row='160'] h2 a")
    expect(far).to_be_visible()
    assert page.locator("[data-row]").count() < 40
    far.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("link", name="← Features").click()
    expect(page.locator("[data-row='160'] h2 a")).to_be_visible()


def test_search_finds_by_words_and_says_when_there_is_nothing(page: Any) -> None:
    page.goto("/")
    titles(page)
    page.keyboard.press("/")
    page.keyboard.type("red circle")
    page.keyboard.press("Enter")
    expect(page.locator("[data-row] h2").first).to_have_text("red circle")
    page.get_by_role("searchbox").fill("zzz")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No results")).to_be_visible()


def test_a_feature_opens_by_keyboard_and_closes_by_escape(page: Any) -> None:
    page.goto("/")
    name = titles(page)[0]
    page.keyboard.press("j")
    expect(page.locator("[data-row='0'] h2 a")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.keyboard.press("Escape")
    expect(page.locator("[data-row]").first).to_be_visible()


def test_the_feature_page_holds_its_evidence(page: Any) -> None:
    page.goto(FEATURE)
    for name in (
        "Top activating examples",
        "Examples by activation interval",
        "Hard negatives",
        "Nearest by decoder cosine",
        "Logit lens",
        "Explanation scores",
    ):
        expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.get_by_role("img", name="IoU", exact=False)).to_have_count(1)
    expect(page.get_by_role("img", name="Histogram", exact=False)).to_be_visible()


def test_one_width_has_no_splitting(page: Any) -> None:
    with page.expect_response(lambda got: "/api/splitting/" in got.url) as asked:
        page.goto(FEATURE)
    assert asked.value.json()["widths"] == []
    page.wait_for_load_state("networkidle")
    assert page.get_by_role("heading", name="Splitting").count() == 0


def test_words_from_a_model_stay_words(page: Any) -> None:
    """An explanation that is HTML is shown as its letters, and nothing of it runs."""
    page.goto(FEATURE)
    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0


def test_heat_can_be_taken_away(page: Any) -> None:
    page.goto(FEATURE)
    canvas = page.locator("figure canvas").first
    expect(canvas).to_be_visible()
    page.wait_for_timeout(500)
    with_heat = canvas.screenshot()
    page.keyboard.press("h")
    page.wait_for_timeout(500)
    assert canvas.screenshot() != with_heat


def test_steering_gives_two_answers_and_tells_of_tokens(page: Any) -> None:
    page.goto(FEATURE)
    page.get_by_role("link", name="Steer with it").click()
    expect(page.get_by_text("maximum 17.0")).to_be_visible()
    page.get_by_label("Strength, exactly").fill("8")
    page.get_by_role("button", name="Run comparison").click()
    expect(page.get_by_text("Different answer.")).to_be_visible()
    expect(page.get_by_role("group", name="Steered answer")).to_contain_text("red cross")
    page.get_by_role("group", name="Original answer").locator("[data-token]").nth(3).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("entropy")
    page.keyboard.press("Escape")
    page.get_by_label("Strength, exactly").fill("0")
    page.keyboard.press("Tab")
    expect(page.get_by_text("leaves the model exactly as it is")).to_be_visible()
    page.get_by_role("button", name="Run comparison").click()
    expect(page.get_by_text("Same answer.")).to_be_visible()


def test_an_own_picture_is_sent_and_shown(page: Any) -> None:
    page.goto("/#/steer")
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), "teal").save(buffer, "PNG")
    chooser = page.locator("input[type=file]")
    chooser.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    expect(page.get_by_alt_text("The one asked about")).to_be_visible()
    bad = {"name": "b.png", "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"}
    chooser.set_input_files(bad)
    expect(page.get_by_role("alert")).to_contain_text("not a picture")


def test_a_missing_feature_is_told_calmly(page: Any) -> None:
    page.goto("/#/feature/resid_post.12/drawn/99999")
    expect(page.get_by_role("alert")).to_contain_text("No feature 99999")


@NARROW
def test_it_fits_a_phone(page: Any) -> None:
    for place in ("/", FEATURE, "/#/steer?feature=resid_post.12%2Fdrawn%2F16"):
        page.goto("about:blank")
        page.goto(place)
        expect(page.get_by_role("heading").first).to_be_attached()
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place


@pytest.mark.parametrize("place", ["/", FEATURE, "/#/steer?feature=resid_post.12%2Fdrawn%2F16"])
def test_nothing_that_axe_knows_is_wrong(page: Any, place: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in web/")
    page.emulate_media(reduced_motion="reduce")  # a colour half-way between themes is neither's
    page.goto(place)
    expect(page.get_by_role("heading").first).to_be_attached()
    page.wait_for_timeout(800)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for theme in ("light", "dark"):
        page.evaluate("(t) => { document.documentElement.dataset.theme = t; }", theme)
        found = page.evaluate("async () => (await axe.run()).violations")
        told = [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found]
        assert not told, (theme, told)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", [(1280, 860), (390, 844)], indirect=True, ids=["1280", "390"])
def test_pictures_of_the_page(page: Any, theme: str, shots: Path) -> None:
    page.emulate_media(color_scheme=theme)
    width = page.viewport_size["width"]
    places = {"list": "/", "feature": FEATURE, "search": "/#/features?q=red circle"}
    for name, place in places.items():
        page.goto("about:blank")
        page.goto(place)
        expect(page.locator("figure canvas").first).to_be_visible()
        page.wait_for_timeout(1_000)
        file = shots / f"{name}-{width}-{theme}.png"
        page.screenshot(path=file)
        with Image.open(file) as picture:
            assert picture.width == width
