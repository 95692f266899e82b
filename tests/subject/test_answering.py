"""Answers a token at a time, with other runs of the model between two of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from samples_of_subjects import asked, picture

from semascope.subject import EditContext


def drained(steps: Generator[None, None, Any], between: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
        between()


@pytest.mark.parametrize(
    "family", ["llama", "llava", "qwen2_vl", "qwen3_vl", "gemma3", "paligemma"]
)
def test_what_runs_between_two_tokens_changes_nothing(subject: Any, family: str) -> None:
    """Another answer under edits, of another picture, and whole passes: one whose positions, cache
    or hooks were the model's own would go on with the other's."""
    s = subject(family)
    pictures = (picture(90, 50), picture(40, 120, 1)) if s.has_vision else (None, None)
    one, two = (
        asked(text, *(() if image is None else (image,)))
        for text, image in zip(("What is there?", "Is it red, the house?"), pictures, strict=True)
    )
    seen: list[int] = []

    def louder(x: Any, context: EditContext) -> Any:
        seen.append(context.start)
        return x * 1.5

    edits = {"resid_post.1": louder}
    alone = s.generate(one, max_new_tokens=5), s.generate(two, edits=edits, max_new_tokens=5)
    other = s.answering(two, edits=edits, max_new_tokens=5)
    heard: list[Any] = []
    batch = s.encode([two], answer="", max_tokens=None)

    def between() -> None:
        s.logits(batch)
        try:
            next(other)
        except StopIteration as done:
            heard.append(done.value)

    seen.clear()
    told = drained(s.answering(one, max_new_tokens=5), between)
    while not heard:
        between()
    for answer, same in zip((told, heard[0]), alone, strict=True):
        assert [t.id for t in answer.tokens] == [t.id for t in same.tokens]
        assert [t.logprob for t in answer.tokens] == [t.logprob for t in same.tokens]
    # Prefill, then each token but the last: the edits are at work in their own steps alone.
    assert len(seen) == len(heard[0].tokens) and seen[0] == 0 and 0 not in seen[1:]
