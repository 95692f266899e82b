"""The page as a microscope: ask why, switch off, steer in words, the map, tours, ratings."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from semascope.monitor.tours import Put, tour

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)  # a busy machine is slow, and no test is about time
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FEATURE = "/#/feature/resid_post.12/drawn/16"
VIEWS = ("chat", "map", "tours", "register", "alike", "versus", "lists", "rate", "steer")


def picture() -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 128), "teal").save(buffer, "PNG")
    return {"name": "a.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def ask(page: Any, question: str = "What is in the picture?") -> Any:
    """Ask with a picture; the unchanged answer."""
    page.goto("/#/chat")
    page.locator("form input[type=file][multiple]").set_input_files(picture())
    expect(page.get_by_role("button", name="Remove picture 1")).to_be_visible()
    page.get_by_label("Message").fill(question)
    page.get_by_role("button", name="Send").click()
    answer = page.get_by_role("group", name="Original answer")
    expect(answer).to_contain_text("with 1 pictures.")
    return answer


def concepts(page: Any) -> Any:
    found = page.get_by_role("list", name="Concepts").locator("> li")
    expect(found.first).to_be_visible()
    return found


def test_from_a_token_to_concepts_to_exemplars_to_another_answer_and_back(page: Any) -> None:
    answer = ask(page)
    answer.locator("[data-token]").nth(2).click()
    first = concepts(page).first
    expect(first).to_contain_text("coherence")
    expect(first).to_contain_text("ablated: 67 % →")
    first.locator("button.title").first.click()
    first.locator(".inside button.title").first.click()
    expect(first.locator(".peek figure").first).to_be_visible()
    first.get_by_role("button", name="Switch off").click()
    changed = page.get_by_role("group", name="Steered answer")
    expect(page.get_by_text("Different answer.")).to_be_visible()
    expect(page.get_by_text("random control: KL")).to_be_visible()
    expect(answer).to_be_visible()
    changed.locator("[data-token]").nth(2).click()
    expect(page.get_by_text("in the steered run")).to_be_visible()
    concepts(page)
    page.get_by_role("button", name="Undo").click()
    expect(changed).to_have_count(0)
    expect(page.get_by_role("list", name="Interventions").get_by_role("listitem")).to_have_count(0)


SLOW_EFFECTS = """
    const real = window.fetch;
    window.fetch = async (url, options) => {
      const answer = await real(url, options);
      if (!String(url).endsWith("/api/why")) return answer;
      const lines = (await answer.text()).split("\\n");
      const told = lines.filter((line) => !/"kind": *"effect"/.test(line)).join("\\n");
      const body = new ReadableStream({
        start(stream) {
          stream.enqueue(new TextEncoder().encode(told));
          const stop = () => stream.error(new DOMException("", "AbortError"));
          options.signal.addEventListener("abort", stop);
        },
      });
      return new Response(body, { headers: answer.headers });
    };
"""
"""Every answer to why comes without its effects, and does not end by itself."""


def test_a_concept_is_switched_off_while_effects_are_still_measured(page: Any) -> None:
    """It put a card there and did not answer: the page was busy with what nobody waited for."""
    page.add_init_script(SLOW_EFFECTS)
    ask(page).locator("[data-token]").nth(2).click()
    first = concepts(page).first
    expect(page.get_by_text("ablated:")).to_have_count(0)
    first.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text("random control: KL")).to_be_visible()


def test_the_steered_run_is_asked_about_with_its_interventions(page: Any) -> None:
    """What is sent, not only what is shown: the changed run must be the one inspected."""
    sent: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda r: sent.append(json.loads(r.post_data or "{}")) if r.url.endswith("/why") else None,
    )
    ask(page).locator("[data-token]").nth(0).click()
    concepts(page).first.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text("random control: KL")).to_be_visible()
    page.get_by_role("group", name="Steered answer").locator("[data-token]").nth(1).click()
    concepts(page)
    page.get_by_role("radio", name="Activation").check()
    concepts(page)
    assert [bool(one["interventions"]) for one in sent] == [False, True, True]
    assert [one["mode"] for one in sent] == ["attribution", "attribution", "activation"]
    assert len(sent[1]["answer"]) == 2


def test_an_answer_that_is_drawn_is_drawn_anew(page: Any) -> None:
    """Regenerate with the same seed would give the same words; undo gives the seed back."""
    sent: list[int] = []
    page.on(
        "request",
        lambda r: (
            sent.append(json.loads(r.post_data or "{}")["seed"])
            if r.url.endswith("/api/chat")
            else None
        ),
    )
    ask(page)
    again = page.get_by_role("button", name="regenerate")
    again.click()
    answers = page.get_by_role("group", name="Original answer")
    expect(answers).to_have_count(2)
    page.get_by_text("Settings").click()
    page.get_by_label("Temperature").fill("0.7")
    expect(again).to_be_enabled()
    again.click()
    expect(answers).to_have_count(3)
    assert sent == [0, 0, 1]
    page.get_by_role("button", name="Undo").click()
    expect(answers).to_have_count(2)
    expect(page.get_by_label("Seed")).to_have_value("0")


def test_a_part_of_the_picture_is_asked_about(page: Any) -> None:
    sent: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda r: sent.append(json.loads(r.post_data or "{}")) if r.url.endswith("/why") else None,
    )
    ask(page)
    frame = page.get_by_role("application", name="Picture 1")
    box = frame.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=2)
    page.mouse.up()
    expect(page.get_by_text("in the region you drew")).to_be_visible()
    concepts(page)
    region = sent[0]["at"]["region"]
    wanted = {"left": 32, "top": 32, "right": 64, "bottom": 64, "image": 0}
    assert all(abs(region[k] - wanted[k]) <= 2 for k in wanted)
    frame.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_text("in the region you drew")).to_be_visible()
    concepts(page)
    assert sent[1]["at"]["region"]["left"] > region["left"]


def test_every_token_of_the_prompt_tells_its_probability(page: Any) -> None:
    ask(page)
    page.get_by_role("button", name="every token").click()
    prompt = page.get_by_role("toolbar", name="The prompt as the model reads it")
    expect(prompt).to_contain_text("4 image tokens")
    prompt.get_by_role("button").nth(2).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("entropy")
    prompt.get_by_role("button").nth(2).click()
    concepts(page)


def test_concepts_bear_the_names_that_a_model_gives_as_text(page: Any) -> None:
    """Markup in a name is words on the page; where it refuses, the words stay and why is said."""
    ask(page).locator("[data-token]").nth(2).click()
    found = concepts(page)
    first = found.first.locator("button.title").first
    expect(first).to_contain_text("<i>")
    assert first.locator("i").count() == 0
    expect(found.first).to_contain_text("coherence 6.5 / 7")
    expect(found.first).to_contain_text("named by lmm:drawn-namer")
    if found.count() > 2:
        expect(found.nth(2)).not_to_contain_text("named by")
        expect(page.get_by_text("The model refused.")).to_be_visible()


def test_two_models_answer_one_prompt_side_by_side(page: Any) -> None:
    page.goto("/#/versus")
    page.get_by_label("Prompt").fill("What is there?")
    page.get_by_role("button", name="Compare").click()
    one, other = (page.get_by_role("group", name=f"Answer {n}") for n in (1, 2))
    expect(one).to_contain_text("a red circle")
    expect(other).to_contain_text("a warm circle")
    expect(page.get_by_role("list", name="Concepts of B").get_by_role("listitem")).to_have_count(3)
    expect(page.get_by_role("list", name="Features of A").get_by_role("link")).not_to_have_count(0)
    expect(page.get_by_role("list", name="Features of B").get_by_role("link")).to_have_count(0)
    one.locator("[data-token]").nth(3).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("entropy")
    one.locator("[data-token]").nth(3).click()
    expect(page.get_by_text("token 4")).to_have_count(2)
    page.get_by_label("Model").nth(1).select_option("drawn-subject")
    expect(page.get_by_text("Choose two different dictionaries.")).to_be_visible()


def test_changes_that_meet_are_named_and_nothing_runs(page: Any) -> None:
    answer = ask(page)
    page.get_by_role("textbox", name="Concept in words").fill("red circle")
    page.get_by_role("button", name="Find", exact=True).click()
    rows = page.get_by_role("list", name="Features of the concept").get_by_role("listitem")
    expect(rows.first).to_be_visible()
    before = rows.count()
    rows.nth(1).get_by_role("button", name="Remove").click()
    expect(rows).to_have_count(before - 1)
    page.get_by_role("button", name="Strengthen").click()
    expect(page.get_by_text("random control: KL")).to_be_visible()
    answer.locator("[data-token]").nth(0).click()
    concepts(page)
    name = rows.first.get_by_role("link").inner_text()
    page.get_by_role("combobox", name="Find a feature").fill(name)
    page.locator("#found").get_by_role("option").first.click()
    expect(page.get_by_role("alert")).to_contain_text("at the same tokens")
    expect(page.get_by_role("button", name="Regenerate with interventions")).to_be_disabled()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export").click()
    held = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert len(held["interventions"]) == 2
    assert held["interventions"][0]["unit"] == "quantile"


def test_the_map_opens_a_feature_and_lists_its_regions(page: Any) -> None:
    page.goto("/#/map?feature=resid_post.12%2Fdrawn%2F16")
    regions = page.get_by_role("list", name="Regions")
    expect(regions).to_contain_text("spoke 0")
    expect(page.get_by_role("tooltip")).to_be_visible()
    kinds = page.get_by_role("list", name="Categories")
    colours = kinds.locator("i").evaluate_all("all => all.map(one => one.style.borderColor)")
    assert len(set(colours)) == len(colours) > 1, "two kinds look the same"
    plane = page.get_by_role("application", name="Map of")
    box = plane.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page).to_have_url(re.compile(r"#/feature/resid_post\.12/drawn/16$"))
    page.go_back()
    regions.get_by_role("button", name="spoke 3").press("Enter")
    regions.get_by_role("link").first.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_a_feature_is_tried_noted_and_put_on_a_list(page: Any) -> None:
    page.goto(FEATURE)
    page.get_by_label("Your own text").fill("A red cross.")
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("Active:")).to_be_visible()
    page.get_by_label("A note").fill("Looks like <b>crosses</b>.")
    page.get_by_role("button", name="Add note").click()
    expect(page.get_by_text("Looks like <b>crosses</b>.")).to_be_visible()
    page.get_by_label("Name of a list").fill("crosses")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("button", name="Remove from crosses")).to_be_visible()
    page.goto("/#/lists/crosses")
    expect(page.get_by_role("heading", level=2)).to_have_count(1)


def test_words_are_rated_blind(page: Any) -> None:
    page.goto("/#/rate")
    page.get_by_label("Your name").fill("Ana")
    page.get_by_label("How many").fill("2")
    page.get_by_role("button", name="Begin").click()
    grades = page.get_by_role("group", name="How well does the explanation fit?")
    expect(grades).to_be_visible()
    assert "resid_post" not in page.locator("main").inner_text()
    page.keyboard.press("2")
    expect(page.get_by_text("The feature is ")).to_be_visible()
    page.keyboard.press("n")
    expect(page.get_by_text("1 of 2")).to_be_visible()
    expect(page.get_by_text("The feature is ")).to_be_hidden()
    page.keyboard.press("1")
    expect(page.get_by_text("The feature is ")).to_be_visible()
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="2 rated")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="vague")).to_contain_text(" %")
    page.get_by_role("button", name="2 more").click()
    expect(page.get_by_text("0 of 2")).to_be_visible()


def walk(page: Any, title: str) -> None:
    page.goto("/#/tours")
    page.get_by_role("link", name=title).click()
    steps = page.locator("ol > li")
    expect(steps.first).to_be_visible()
    for done in range(steps.count()):
        step = page.get_by_role("button", name="Begin" if done == 0 else "Next step")
        expect(step).to_be_enabled()
        step.click()
    expect(page.get_by_text("End of the tour.")).to_be_visible()


def test_a_tour_is_walked_and_measured(page: Any) -> None:
    walk(page, "9.9 against 9.11")
    assert page.locator("ol .result").count() >= 1


def test_a_tour_is_played_by_the_server_a_step_at_a_time(page: Any) -> None:
    """The page asks for one step after another and measures nothing itself."""
    sent: dict[str, list[Any]] = {}
    page.on(
        "request",
        lambda r: sent.setdefault(urlsplit(r.url).path, []).append(json.loads(r.post_data or "{}")),
    )
    walk(page, "Hungry and eating, in word and picture")
    steps = sent["/api/tour"]
    assert [ask["step"] for ask in steps] == list(range(len(steps)))
    assert not {"/api/chat", "/api/why", "/api/steer", "/api/near"} & sent.keys()
    questions = [step for step in tour("hungry").steps if isinstance(step, Put)]
    expect(page.get_by_text(questions[-1].text).last).to_be_visible()
    expect(page.get_by_role("tab", name="Concepts")).to_be_visible()


def test_the_register_bears_its_caution(page: Any) -> None:
    page.goto("/#/register")
    expect(page.get_by_text("Caution.")).to_be_visible()
    assert page.get_by_role("heading", level=2).count() >= 6


def test_axe_finds_nothing_wrong_with_what_was_asked_for(page: Any) -> None:
    """Views with answers in them, which an empty page does not show."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in web/")
    page.emulate_media(reduced_motion="reduce")
    ask(page).locator("[data-token]").nth(2).click()
    expect(concepts(page).first).to_contain_text("named by")
    for place in ("chat", "versus"):
        if place == "versus":
            page.goto("/#/versus")
            page.get_by_role("button", name="Compare").click()
            expect(page.get_by_role("list", name="Features of B")).to_be_visible()
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("async () => (await axe.run()).violations")
        assert not [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found], place


@pytest.mark.parametrize("page", [(1280, 860), (390, 844)], indirect=True, ids=["1280", "390"])
def test_every_view_fits_and_axe_finds_nothing_wrong(page: Any) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in web/")
    page.emulate_media(reduced_motion="reduce")  # a colour half-way between themes is neither's
    width = page.viewport_size["width"]
    for place in VIEWS:
        page.goto("about:blank")
        page.goto(f"/#/{place}")
        expect(page.get_by_role("heading").first).to_be_attached()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for theme in ("light", "dark"):
            page.evaluate("(t) => { document.documentElement.dataset.theme = t; }", theme)
            found = page.evaluate("async () => (await axe.run()).violations")
            told = [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found]
            assert not told, (place, theme, told)
