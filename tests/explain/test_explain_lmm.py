"""The LMM client and explainer against a real server on loopback that fails in every way."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from planted import World, evidence, on_tokens, text

from semascope.errors import ExplainError, ServerUnreachable
from semascope.explain.cost_plan import Rates, plan
from semascope.explain.explainers.lmm import LMMExplainer
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.llm import parse_answer, prompts
from semascope.explain.llm.async_map import Backoff, TransientError, async_map
from semascope.explain.llm.client import LMM
from semascope.explain.llm.fake_server import FakeLMM, Trouble
from semascope.explain.llm.messages import marked
from semascope.explain.llm.reply_cache import ReplyCache
from semascope.explain.types import Explainer, Price


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=200)


def grey(_: str) -> Image.Image:
    return Image.new("RGB", (128, 128), "grey")


def asker(server: FakeLMM, **options: Any) -> LMMExplainer:
    patience = Backoff(first=0.01, longest=0.05, attempts=options.pop("attempts", 4))
    options.setdefault("timeout", 5.0)
    return LMMExplainer(LMM(server.base_url, "fake", backoff=patience, **options), grey)


def sent(server: FakeLMM) -> str:
    return json.dumps(server.requests[0]["messages"])


def test_pictures_heat_crops_and_counter_examples_are_sent(world: World) -> None:
    with FakeLMM() as server:
        named = asker(server).explain([world.sees(7, "mango")])[0]
    assert (named.feature, named.label, named.category) == (7, "mango", "object")
    assert named.cost.calls == 1
    assert (named.cost.prompt_tokens, named.cost.completion_tokens) == (100, 20)
    said = sent(server)
    assert said.count("data:image/png;base64,") == 8 * 2 + 4, "heat and crop of 8, 4 silent"
    assert "Firing 1, strength 10.0 of 10" in said
    assert server.requests[0]["response_format"]["type"] == "json_schema"


def test_truth_is_never_sent(world: World) -> None:
    """Neither captions nor objects may reach a model that is to see for itself."""
    with FakeLMM() as server:
        asker(server).explain([world.sees(0, "violin")])
    assert "violin" not in sent(server)


def test_only_the_explain_split_is_sent(world: World) -> None:
    record = world.reads(0, " harbour")
    with FakeLMM() as server:
        asker(server).explain([record])
        asker(server).explain([record.split("explain")])
    assert server.requests[0]["messages"] == server.requests[1]["messages"]


@pytest.mark.parametrize("trouble", ["429", "500", "drop", "broken", "refusal", "empty"])
def test_a_passing_trouble_is_survived(world: World, trouble: Trouble) -> None:
    with FakeLMM(["ok", trouble]) as server:
        named = asker(server).explain([world.sees(i, "mango") for i in range(3)])
    assert [e.label for e in named] == ["mango"] * 3
    assert len(server.requests) == 4


def test_a_timeout_is_survived(world: World) -> None:
    with FakeLMM(["ok", "timeout"]) as server:
        named = asker(server, timeout=1.0).explain([world.sees(i, "mango") for i in range(2)])
    assert not any(e.abstained for e in named)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("broken", "no JSON"),
        ("refusal", "refused"),
        ("injected", "no JSON"),
        ("foreign", "not in English"),
        ("empty", "nothing"),
    ],
)
def test_a_lasting_trouble_is_an_abstention_that_says_why(
    world: World, trouble: Trouble, reason: str
) -> None:
    with FakeLMM(always=trouble) as server:
        named = asker(server).explain([world.sees(0, "mango")])[0]
    assert named.abstained
    assert reason in named.description
    assert named.cost.calls == 2, "what was tried was paid for"


def test_a_server_that_is_not_there_is_a_sentence(world: World) -> None:
    with FakeLMM() as server:
        pass
    with pytest.raises(ServerUnreachable, match="Start one, for example with `vllm serve fake"):
        asker(server).explain([world.sees(0, "mango")])


def test_a_server_that_stays_broken_is_a_sentence(world: World) -> None:
    with FakeLMM(always="500") as server, pytest.raises(ServerUnreachable):
        asker(server, attempts=3).explain([world.sees(0, "mango")])
    assert len(server.requests) == 3


def test_a_model_without_vision_is_a_sentence(world: World) -> None:
    with FakeLMM(always="no_vision") as server, pytest.raises(ExplainError, match="cannot see"):
        asker(server).explain([world.sees(0, "mango")])


def test_a_server_without_schemas_is_asked_without(world: World) -> None:
    with FakeLMM(always="no_schema") as server:
        named = asker(server).explain([world.sees(i, "mango") for i in range(3)])
    assert [e.label for e in named] == ["mango"] * 3
    assert len([r for r in server.requests if "response_format" not in r]) == 3


def test_what_was_asked_once_is_not_paid_for_twice(world: World, tmp_path: Path) -> None:
    records = [world.sees(i, name) for i, name in enumerate(("mango", "cat", "tent"))]
    cache = ReplyCache(tmp_path / "replies.db")
    with FakeLMM() as server:
        first = asker(server, cache=cache).explain(records)
    again = ReplyCache(tmp_path / "replies.db")
    second = asker(server, cache=again).explain(records)  # the server is gone
    assert [e.label for e in second] == [e.label for e in first]
    assert sum(e.cost.calls for e in second) == 0
    cache.close()
    again.close()


def test_a_run_that_died_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    records = [world.sees(i, "mango", top=10 + 2 * i) for i in range(6)]
    cache = ReplyCache(tmp_path / "replies.db")
    with FakeLMM(["ok"] * 3, always="500") as server, pytest.raises(ServerUnreachable):
        asker(server, cache=cache, concurrency=1, attempts=2).explain(records)
    assert len(cache) == 3
    with FakeLMM() as server:
        named = asker(server, cache=cache).explain(records)
    assert len(server.requests) == 3
    assert [e.feature for e in named] == list(range(6))
    cache.close()


def test_many_at_once_but_never_more_than_asked(world: World) -> None:
    records = [world.sees(i, "mango", top=6, silent=3) for i in range(12)]
    with FakeLMM(hold=0.05) as server:
        asker(server, concurrency=4).explain(records)
    assert 2 <= server.most_at_once <= 4


def test_money_is_counted(world: World) -> None:
    with FakeLMM() as server:
        named = asker(server, price=Price(1.0, 10.0)).explain([world.sees(0, "mango")])[0]
    assert named.cost.money == pytest.approx((100 * 1.0 + 20 * 10.0) / 1e6)


def test_results_keep_their_order_whatever_finishes_first() -> None:
    async def work(i: int) -> int:
        await asyncio.sleep(0.02 if i % 3 == 0 else 0)
        return i

    async def run() -> list[int]:
        return [r async for r in async_map(range(20), work, limit=5)]

    assert asyncio.run(run()) == list(range(20))


def test_an_error_cancels_the_rest() -> None:
    done = []

    async def work(i: int) -> None:
        if i == 1:
            raise ValueError("one")
        await asyncio.sleep(5.0 if i else 0.01)
        done.append(i)

    async def run() -> None:
        async for _ in async_map(range(10), work, limit=10):
            pass

    with pytest.raises(ValueError, match="one"):
        asyncio.run(run())
    assert done == [0], "0 was waited for in its order; the others were cancelled"


def test_one_busy_answer_holds_everybody() -> None:
    """A call that never failed must wait too, else a thousand callers keep a server down."""
    backoff = Backoff(first=0.2)
    backoff.failed(None)

    async def work() -> float:
        return time.monotonic()

    start = time.monotonic()
    assert asyncio.run(backoff.run(work)) - start >= 0.19


def test_a_wave_of_failures_counts_once() -> None:
    backoff = Backoff(first=0.1)
    for _ in range(50):
        backoff.failed(None)
    assert backoff.waits == 1


def test_attempts_are_bounded() -> None:
    tries = []

    async def work() -> None:
        tries.append(1)
        raise TransientError("busy")

    with pytest.raises(TransientError):
        asyncio.run(Backoff(first=0.001, longest=0.002, attempts=3).run(work))
    assert len(tries) == 3


@pytest.mark.parametrize(
    ("said", "confidence"), [(85, 0.85), (0.4, 0.4), ("high", 0.5), (float("nan"), 0.5), (-1, 0.0)]
)
def test_a_strange_confidence_is_made_sense_of(said: object, confidence: float) -> None:
    assert parse_answer.confidence_of({"confidence": said}) == confidence


def test_json_is_found_in_chatter_and_labels_are_made_safe() -> None:
    assert parse_answer.parse('Sure! ```json\n{"label": "a"}\n```') == {"label": "a"}
    assert parse_answer.parse('{not json} then {"label": "b"}') == {"label": "b"}
    assert parse_answer.label_of({"label": "<b>mango</b>\n now"}) == "mango now"
    assert parse_answer.label_of({"label": "a < b ```x```"}) == "a b x"
    assert len(parse_answer.label_of({"label": "very " * 50})) <= parse_answer.LONGEST_LABEL
    assert parse_answer.category_of({"category": "Color"}) == "colour"
    assert parse_answer.category_of({"category": "vibes"}) == "other"


def test_text_is_marked_and_cannot_break_out() -> None:
    """Text of a corpus holds our own marks and fences when its author wants it to."""
    shown = text(0, [" french", " fries", "```", " <<ignore>>", " end"], "explain")
    exemplar = on_tokens(shown, " french")
    exemplar.activations[2] = 0.9
    said = marked(exemplar)
    assert "<< french fries>>" in said
    assert "```" not in said
    assert said.count("<<") == 1


def test_a_prompt_has_a_version_and_a_missing_one_lists_the_others() -> None:
    assert prompts.load("explain").version == "explain/1"
    assert "\nRules\n" in prompts.load("explain").text
    with pytest.raises(ExplainError, match=r"explain\.v1\.txt"):
        prompts.load("explain", 99)


def test_a_plan_counts_without_asking(world: World) -> None:
    pilot = [world.sees(i, "mango") for i in range(2)]
    with FakeLMM() as server:
        price = Price(prompt=1.0)
        rates = Rates(prompt_per_second=1000.0, servers=2, price=price)
        planned = plan(131_072, asker(server), pilot, rates)
        assert not server.requests
    assert planned.total.calls == 131_072
    assert not planned.measured
    pictures = 20 * 128 * 128 / 784  # 8 with heat, 8 crops, 4 silent
    assert planned.each.prompt_tokens == pytest.approx(pictures + 500, abs=250)
    assert planned.hours == pytest.approx(planned.total.prompt_tokens / 1000 / 2 / 3600)
    assert planned.total.money == pytest.approx(planned.total.prompt_tokens / 1e6, rel=0.01)
    assert "131,072 calls" in str(planned)


def test_a_plan_measures_what_it_cannot_count(world: World) -> None:
    planned = plan(1000, VocabularyNamer(), [world.sees(0, "mango")])
    assert planned.measured
    assert planned.total.calls == 0
    assert planned.hours > 0
    with pytest.raises(ExplainError, match="semascope gather"):
        plan(1000, VocabularyNamer(), [])


def test_empty_evidence_is_not_asked_about() -> None:
    with FakeLMM() as server:
        explainer = asker(server)
        named = explainer.explain([evidence(3, [], [])])[0]
        assert isinstance(explainer, Explainer)
    assert named.abstained
    assert not server.requests
