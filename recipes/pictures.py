"""The pictures of README and docs, taken of a run that is served: nothing in them is drawn.

    semascope serve --workspace workspace/demo --port 8123
    python -m recipes.pictures --url http://127.0.0.1:8123 --feature resid_post.12/main/2295

Opens the page in Chromium, asks the model about a held-out scene of the built-in corpus, clicks a
token of its answer, switches a concept off, and writes PNGs to docs/images.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from semascope.corpus.scenes import SceneCorpus

OUT = Path(__file__).parent.parent / "docs" / "images"
WIDE, NARROW = 1280, 390
VIEWS = ("look", "steer", "tour", "chat")
PATIENCE = 240_000
"""Milliseconds for an answer, its concepts and their effects, on a busy machine."""


def scene(number: int, seed: int) -> dict[str, Any]:
    """A held-out scene, four times as large, as the browser's file chooser wants it."""
    picture = SceneCorpus(2**30, seed=seed, split="heldout").scene(number)[0].image
    buffer = io.BytesIO()
    large = picture.resize((picture.width * 4, picture.height * 4), Image.Resampling.LANCZOS)
    large.save(buffer, "PNG")
    return {"name": f"scene-{number}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


class Camera:
    """One browser on one served run."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser, self.url = browser, url

    def page(self, width: int, theme: str) -> Any:
        """A page of a width in a theme."""
        context = self.browser.new_context(
            base_url=self.url,
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            device_scale_factor=1.5 if width == WIDE else 2,
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        return page

    def look(self, name: str, path: str, width: int, theme: str, wait: str) -> None:
        """One view as it opens."""
        page = self.page(width, theme)
        page.goto(path)
        page.locator(wait).first.wait_for()
        page.wait_for_timeout(2500)
        self.keep(page, name, width, theme)

    def ask(self, picture: dict[str, Any], question: str, word: str, width: int, theme: str) -> Any:
        """Ask, and click the token of the answer that holds a word; the page."""
        page = self.page(width, theme)
        page.goto("/#/chat")
        page.locator("form input[type=file][multiple]").set_input_files(picture)
        page.get_by_role("button", name="Remove picture 1").wait_for()
        page.get_by_label("Message").fill(question)
        page.get_by_role("button", name="Send").click()
        answer = page.get_by_role("group", name="Unchanged answer")
        answer.get_by_text(word).first.wait_for()
        page.wait_for_timeout(3000)
        answer.locator("[data-token]", has_text=word).first.click()
        page.get_by_role("list", name="Concepts").locator("> li").first.wait_for()
        page.get_by_text("without it").first.wait_for()
        page.wait_for_timeout(20_000)
        return page

    def steer(
        self, feature: str, picture: dict[str, Any], dose: float, width: int, theme: str
    ) -> None:
        """One feature added to what the model sees, beside the plain answer and the control."""
        page = self.page(width, theme)
        page.goto(f"/#/steer?feature={quote(feature, safe='')}")
        page.locator("input[type=file]").first.set_input_files(picture)
        page.get_by_alt_text("The one asked about").wait_for()
        page.locator("label", has_text="At").locator("select").first.select_option("image")
        page.get_by_label("Strength, exactly").fill(str(dose))
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Answer twice").click()
        page.get_by_text("The answer changed.").or_(page.get_by_text("The same words.")).wait_for()
        page.get_by_text("with random features changed as much:").wait_for()
        page.wait_for_timeout(1000)
        page.evaluate("scrollTo(0, 0)")
        self.keep(page, "steer", width, theme)

    def switch_off(self, page: Any) -> None:
        """Switch off the first concept and wait for its random control."""
        first = page.get_by_role("list", name="Concepts").locator("> li").first
        first.get_by_role("button", name="Switch off").click()
        page.get_by_text("random control: KL").wait_for()
        page.wait_for_timeout(2000)

    def tour(self, name: str, width: int, theme: str) -> None:
        """A guided tour, walked to its end."""
        page = self.page(width, theme)
        page.goto(f"/#/tours/{name}")
        go = page.locator("ol .go button")
        go.wait_for()
        for _ in range(page.locator("ol > li").count()):
            page.locator("ol .go button:enabled").click()
            page.wait_for_timeout(500)
            page.locator("ol .go button:enabled").or_(
                page.get_by_text("That is the end.")
            ).wait_for()
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(1000)
        self.keep(page, "tour", width, theme, whole=True)

    def keep(self, page: Any, name: str, width: int, theme: str, whole: bool = False) -> None:
        """Write what the page shows; whole: down to its end."""
        path = OUT / f"{name}-{width}-{theme}.png"
        shot = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
        shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=200).save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Take what is asked for."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--url", default="http://127.0.0.1:8123")
    p.add_argument("--feature", default="", help="a feature's id, for its page")
    p.add_argument("--scene", type=int, default=0, help="which held-out scene is asked about")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--question", default="What is in the picture?")
    p.add_argument("--word", default="", help="a word of the answer whose token is clicked")
    p.add_argument("--dose", type=float, default=4.0, help="of its maximum, for the steering view")
    p.add_argument("--tour", default="bolivia", help="which guided tour is walked")
    p.add_argument("--views", nargs="*", default=VIEWS, choices=VIEWS)
    a = p.parse_args()
    if not a.feature and {"look", "steer"} & set(a.views):
        p.error("--feature says whose page, and what steers")
    if not a.word and "chat" in a.views:
        p.error("--word says which token of the answer is clicked")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = shutil.which("chromium") or os.environ.get("CHROMIUM")
        camera = Camera(play.chromium.launch(executable_path=found, args=["--no-sandbox"]), a.url)
        if "look" in a.views:
            for width, theme in ((WIDE, "light"), (NARROW, "light"), (WIDE, "dark")):
                camera.look("feature", f"/#/feature/{a.feature}", width, theme, "figure")
            camera.look("features", "/", WIDE, "light", "a[href*=feature]")
            for width, theme in ((WIDE, "light"), (NARROW, "dark")):
                camera.look("map", "/#/map", width, theme, "canvas")
        if "steer" in a.views:
            camera.steer(a.feature, scene(a.scene, a.seed), a.dose, WIDE, "light")
        if "tour" in a.views:
            camera.tour(a.tour, WIDE, "light")
        if "chat" in a.views:
            for width, theme in ((WIDE, "dark"), (NARROW, "light")):
                page = camera.ask(scene(a.scene, a.seed), a.question, a.word, width, theme)
                camera.keep(page, "chat-why", width, theme)
                camera.switch_off(page)
                camera.keep(page, "chat-steer", width, theme)


if __name__ == "__main__":
    main()
