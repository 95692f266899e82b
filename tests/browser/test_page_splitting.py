"""The section Splitting of a feature's page, over a planted family: a tree to read and to walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.evidence.planted_family import NARROW, WIDE, WIDEST
from tests.serve.planted_widths import three_widths

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def address_of_page(
    serving: Callable[[Any], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    with serving(three_widths(tmp_path_factory.mktemp("family"))) as address:
        yield address


def section(page: Any, feature: str) -> Any:
    """Of a feature's page, opened anew."""
    page.goto("about:blank")
    page.goto(f"/#/feature/{feature}")
    found = page.get_by_role("region", name="Splitting")
    expect(found).to_be_visible(timeout=60_000)
    return found


def test_the_tree_leads_to_the_pages_that_there_are(page: Any) -> None:
    """Names and figures; links where the atlas holds a feature, words where it does not."""
    found = section(page, f"{NARROW}/0")
    expect(found).to_contain_text("Among 8 features it becomes 2.")
    expect(found.locator("[aria-current]")).to_contain_text("a flying mouse")
    expect(found.locator("[aria-current] a")).to_have_count(0)
    child = found.locator(f"a[href='#/feature/{WIDE}/0']")
    expect(child).to_have_text("bat")
    line = found.get_by_role("listitem").filter(has=page.locator(f"a[href$='{WIDE}/0']")).last
    expect(line).to_contain_text("F1 ")
    expect(line).to_contain_text("main-8/0 · cosine .96 · overlap .")
    expect(line.locator("ul > li")).to_have_count(2)
    expect(line).to_contain_text("main-12/1 · cosine .97")
    assert found.locator(f"a[href*='{WIDEST}']").count() == 0
    child.click()
    own = page.get_by_role("region", name="Splitting").locator("[aria-current]")
    expect(own).to_contain_text("bat")
    above = page.get_by_role("link", name="a flying mouse")
    expect(above).to_have_attribute("href", f"#/feature/{NARROW}/0")
    above.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("a flying mouse")


def test_a_new_feature_says_so_and_the_threshold_is_ones_own(page: Any) -> None:
    found = section(page, f"{WIDE}/4")
    expect(found).to_contain_text("New at this width: the nearest narrower feature has cosine .00")
    expect(found).to_contain_text("Among 12 features it becomes one.")
    with page.expect_response(lambda got: "/api/splitting/" in got.url) as asked:
        found.get_by_label("from cosine").select_option(".90")
    assert "threshold=0.9" in asked.value.url and asked.value.json()["threshold"] == 0.9
    expect(found).to_contain_text("Among 12 features it becomes one.")


def test_what_never_fired_has_no_such_section(page: Any) -> None:
    page.goto(f"/#/feature/{NARROW}/3")
    expect(page.get_by_role("heading", name="Notes and lists")).to_be_visible(timeout=60_000)
    page.wait_for_load_state("networkidle")
    assert page.get_by_role("heading", name="Splitting").count() == 0


def test_a_failure_is_told_and_can_be_tried_again(page: Any) -> None:
    """The page stands without it."""
    says = '{"error": {"message": "A dictionary is lost.", "type": "FormatError"}}'
    page.route("**/api/splitting/**", lambda route: route.fulfill(status=422, body=says))
    found = section(page, f"{NARROW}/0")
    expect(found.get_by_role("alert")).to_have_text("A dictionary is lost.")
    expect(page.get_by_role("heading", name="Top activating examples")).to_be_visible()
    page.unroute("**/api/splitting/**")
    found.get_by_role("button", name="Try again").click()
    expect(found.locator("[aria-current]")).to_contain_text("a flying mouse")


@pytest.mark.parametrize("page", [(1280, 860), (390, 844)], indirect=True, ids=["1280", "390"])
def test_nothing_that_axe_knows_is_wrong_and_it_fits(page: Any, shots: Path) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in web/")
    page.emulate_media(reduced_motion="reduce")
    width = page.viewport_size["width"]
    found = section(page, f"{WIDE}/0")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for theme in ("light", "dark"):
        page.evaluate("(t) => { document.documentElement.dataset.theme = t; }", theme)
        wrong = page.evaluate("async () => (await axe.run()).violations")
        assert not [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in wrong], theme
        found.screenshot(path=shots / f"splitting-{width}-{theme}.png")
