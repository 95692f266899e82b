"""Servers as they are: other parameters, other errors, pages, one refused question, a judge that
cannot be read. Over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from planted import World

from semascope.errors import ExplainError, SemascopeError, ServerUnreachable
from semascope.explain.explainers.lmm import LMMExplainer
from semascope.explain.llm.async_map import Backoff, async_map, seconds_asked
from semascope.explain.llm.client import LMM, Reply
from semascope.explain.llm.fake_server import FakeLMM, completion
from semascope.explain.llm.reply_cache import ReplyCache, content_key
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.lmm_judge import LMMJudge
from semascope.explain.scorers.specificity import SpecificityScorer
from semascope.explain.types import Explanation

GOOD = '{"description": "A red flag.", "label": "red flag"}'


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=200)


def grey(_: str) -> Image.Image:
    return Image.new("RGB", (32, 32), "grey")


def lmm(server: FakeLMM, attempts: int = 2, **options: Any) -> LMM:
    return LMM(
        server.base_url, "fake", backoff=Backoff(0.0, longest=0.01, attempts=attempts), **options
    )


def ask(model: LMM, *questions: str, **more: Any) -> list[Reply]:
    async def run() -> list[Reply]:
        async with model.connect() as client:
            found = async_map(
                questions,
                lambda q: model.ask(client, [{"role": "user", "content": q}], **more),
                limit=1,
            )
            return [one async for one in found]

    return asyncio.run(run())


def error(status: int, text: Any, **more: Any) -> tuple[int, bytes]:
    body = {"error": {"message": text, **more}} if isinstance(text, str) else text
    return status, json.dumps(body).encode()


def said(text: Any, finish: str = "stop", **more: Any) -> tuple[int, bytes]:
    body = completion("")
    body["choices"][0] = {"message": {"content": text, **more}, "finish_reason": finish}
    return 200, json.dumps(body).encode()


@pytest.mark.parametrize(
    "refused",
    [
        error(400, "The prompt was filtered by the content policy.", code="content_filter"),
        error(400, "This model's maximum context length is 4096 tokens, however you requested 9000 "
                   "(8700 in messages, 300 in max_tokens)."),
        error(413, "Request Entity Too Large"),
        error(400, "Could not process image: unsupported image format."),
        error(403, "Your input was flagged by moderation."),
        error(422, {"detail": [{"loc": ["body", "messages"], "msg": "bad picture"}]}),
        (400, b"<html>Bad request</html>"),
        (451, b""),
    ],
)  # fmt: skip
def test_one_refused_question_costs_itself_alone(refused: tuple[int, bytes]) -> None:
    """One filtered feature ended a run of 131,072, always at the same place."""
    with FakeLMM(raw=lambda r: refused if "item 3" in json.dumps(r) else None) as server:
        replies = ask(lmm(server), *(f"item {i}" for i in range(6)))
    assert [bool(r.failure) for r in replies] == [i == 3 for i in range(6)]
    assert str(refused[0]) in replies[3].failure


def test_a_refused_feature_abstains_with_its_reason(world: World) -> None:
    """The explainer goes on, and the reason is kept."""
    policy = error(400, "flagged by our content filter")
    with FakeLMM(raw=lambda r: policy if len(server.requests) == 2 else None) as server:
        named = LMMExplainer(lmm(server, concurrency=1), grey).explain(
            [world.sees(i, "mango", top=6 + i) for i in range(3)]
        )
    assert [e.abstained for e in named] == [False, True, False]
    assert "flagged by our content filter" in named[1].description
    assert "content filter" in named[1].replies["lmm:fake"] and named[0].replies == {"lmm:fake": ""}
    assert len(server.requests) == 3, "the same question would be refused again"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, b"<!doctype html><html>Sign in</html>"), "web page, not JSON"),
        ((200, b"Hello"), "text, not JSON: 'Hello'"),
        ((200, b"[]"), "another shape: a list"),
        ((200, b'{"result": "ok"}'), "another shape: an object with result"),
        ((200, b'{"error": "model is sleeping"}'), "an error: model is sleeping"),
        ((200, b'{"object": "error", "message": "boom"}'), "an error: boom"),
        ((200, b'data: {"choices": []}\n\n'), "stream of events"),
        (error(401, "bad key"), "valid API key: bad key"),
        (error(403, {"detail": "forbidden"}), "valid API key: forbidden"),
        (error(400, "API key not valid."), "valid API key"),
        (error(404, {"detail": "Not Found"}), "has no model 'fake': Not Found"),
        (error(400, "The model `fake` does not exist"), "has no model"),
        ((404, b"<html>nginx</html>"), "has no model 'fake': it answered with a web page"),
        (error(402, "pay"), "before it is paid: pay"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), "is paid"),
    ],
)
def test_a_fault_of_the_set_up_ends_at_once(answer: tuple[int, bytes], sentence: str) -> None:
    """What will never work is not asked 131,072 times, and never ends in a traceback."""
    with FakeLMM(raw=lambda r: answer) as server, pytest.raises(ExplainError, match=sentence):
        ask(lmm(server), "a", "b", "c")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("models", "sentence"),
    [((200, b"<html></html>"), "web page"), ((200, b"ok"), "text, not JSON"),
     ((200, b'{"data": [{"id": "other"}]}'), "it has: other"),
     ((401, b"<html></html>"), "API key")],
)  # fmt: skip
def test_the_check_before_a_run_reads_pages(models: tuple[int, bytes], sentence: str) -> None:
    """A forgotten /v1 was an AttributeError."""
    with FakeLMM(models=models) as server, pytest.raises(ExplainError, match=sentence):
        lmm(server).check()


@pytest.mark.parametrize(
    "models",
    [b'{"data": null}', b'{"data": [1, null, {"id": 3}]}', b"{}", b"[]", b'["fake"]', b"null",
     b'{"models": [{"name": "fake:latest"}]}'],
)  # fmt: skip
def test_a_list_of_models_of_another_shape_passes(models: bytes) -> None:
    """What is not known to be wrong is tried."""
    with FakeLMM(models=(200, models)) as server:
        lmm(server).check()


@pytest.mark.parametrize(
    "address",
    ["", "localhost:8000/v1", "ftp://x/v1", "http://", "http://[", "http://a b/v1",
     "http://x:99999/v1", "http://x/v1/chat/completions"],
)  # fmt: skip
def test_an_address_that_is_none_is_a_sentence(address: str) -> None:
    """Found before anything is asked."""
    with pytest.raises(ExplainError, match="--base-url"):
        LMM(address, "m").check()
    with pytest.raises(ExplainError, match="--base-url"):
        ask(LMM(address, "m"), "x")


def test_a_key_that_is_none_is_a_sentence() -> None:
    """A header takes no such characters."""
    with pytest.raises(ExplainError, match="OPENAI_API_KEY"):
        LMM("http://localhost:1/v1", "m", api_key="ключ").check()
    with FakeLMM() as server:
        assert ask(LMM(server.base_url, "fake", api_key="key\n"), "x")[0].text


@pytest.mark.parametrize("shape", ["error", "detail", "text"])
def test_what_a_server_does_not_take_is_left_out_and_told_once(
    shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Hosted reasoning models take max_completion_tokens alone, no temperature and no seed."""

    def strict(request: Mapping[str, Any]) -> tuple[int, bytes] | None:
        told = {
            "max_tokens": "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "temperature": "Unsupported value: 'temperature' must be 1.",
            "seed": "Unrecognized request argument supplied: seed",
            "response_format": "This response_format type is unavailable: not supported",
        }
        for name, text in told.items():
            if name in request:
                if shape == "error":
                    return error(400, text, param=name)
                return error(422, {"detail": text}) if shape == "detail" else (400, text.encode())
        return None

    with FakeLMM(raw=strict) as server, caplog.at_level(logging.WARNING):
        model = lmm(server)
        replies = ask(model, "a", "b", "c", schema={"type": "object"})
    assert all(r.text for r in replies)
    assert len(server.requests) == 7, "four were learned from, then all is known"
    assert server.requests[-1]["max_completion_tokens"] == 2400
    assert len(caplog.records) == 4


def test_extra_fields_are_sent_and_null_leaves_ours_out() -> None:
    """What a server wants beside the usual is a flag."""
    with FakeLMM() as server:
        ask(lmm(server, extra={"reasoning_effort": "low", "temperature": 1, "seed": None}), "a")
    sent = server.requests[0]
    assert (sent["reasoning_effort"], sent["temperature"], "seed" in sent) == ("low", 1, False)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (said(GOOD[:20], "length"), "cut off at 300 tokens"),
        (said(GOOD + " First idea " + GOOD, "length")[:1] + said(f"{GOOD} No.", "length")[1:],
         "cut off"),
        (said("", "content_filter"), "content filter"),
        (said(None, refusal="I must decline."), "refused"),
        (said("   "), "nothing"),
        (said(None, reasoning_content=GOOD), "nothing"),
    ],
)  # fmt: skip
def test_a_failure_is_never_cached(tmp_path: Path, bad: tuple[int, bytes], reason: str) -> None:
    """A cut-off reply was replayed for ever after the server was mended."""
    cache = ReplyCache(tmp_path / "replies.db")
    with FakeLMM(raw=lambda r: bad if len(server.requests) == 1 else said(GOOD)) as server:
        first, second, third = ask(lmm(server, cache=cache), "x", "x", "x")
    cache.close()
    assert reason in first.failure
    assert (second.text, second.failure, second.cached) == (GOOD, "", False)
    assert third.cached and len(server.requests) == 2


def test_old_bad_replies_are_not_replayed(world: World, tmp_path: Path) -> None:
    """Caches of earlier versions hold failures."""
    cache = ReplyCache(tmp_path / "replies.db")
    record = world.sees(0, "mango")
    with FakeLMM() as server:
        explainer = LMMExplainer(lmm(server, cache=cache), grey)
        messages = explainer.messages(record)
        from semascope.explain.llm.messages import SCHEMA

        for text in (GOOD[:20], "", "I'm sorry, but I cannot help.", "<think>hm"):
            request = explainer.lmm._request(messages, SCHEMA, 0)
            cache.put(content_key(request), {"text": text, "refused": False})
            before = len(server.requests)
            assert explainer.explain([record])[0].label == "mango"
            assert len(server.requests) == before + 1
    cache.close()


def test_a_question_that_breaks_the_server_costs_itself_but_a_broken_server_ends(
    world: World,
) -> None:
    """A crash on one picture ended the run always there; a dead server must end it."""
    boom = error(500, "CUDA error")
    with FakeLMM(raw=lambda r: boom if "item 2" in json.dumps(r) else None) as server:
        replies = ask(lmm(server), *(f"item {i}" for i in range(4)))
    assert [bool(r.failure) for r in replies] == [False, False, True, False]
    with (
        FakeLMM(raw=lambda r: boom if len(server.requests) > 1 else None) as server,
        pytest.raises(ServerUnreachable, match="CUDA error"),
    ):
        ask(lmm(server), *(f"item {i}" for i in range(9)))
    assert len(server.requests) == 1 + 3 * 2


def test_a_server_that_refuses_everything_is_not_asked_for_ever() -> None:
    """Twenty refusals and no answer are a fault of the set-up."""
    with (
        FakeLMM(raw=lambda r: error(400, "no")) as server,
        pytest.raises(ExplainError, match="refused the first 20 questions"),
    ):
        ask(lmm(server), *(f"item {i}" for i in range(50)))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "3"}, 3.0), ({"retry-after-ms": "500"}, 0.5), ({"retry-after": "nan"}, None),
     ({"retry-after": "inf"}, None), ({"retry-after": "-1"}, 0.0), ({"retry-after": "soon"}, None),
     ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0), ({}, None)],
)  # fmt: skip
def test_retry_after_of_any_form(headers: dict[str, str], seconds: float | None) -> None:
    """NaN would have held everybody for ever."""
    assert seconds_asked(headers) == seconds


def words(feature: int, label: str) -> Explanation:
    return Explanation(feature, f"Pictures of a {label}.", label, "object", 0.9, author="x")


@pytest.mark.parametrize(
    "reply",
    [said("I think it fits."), said('{"fit": true}'), said('{"fit": 9}'), said("", "length"),
     said('{"fit": ', "length"), said(None, refusal="no"), error(400, "content filter")],
)  # fmt: skip
def test_a_judge_that_cannot_be_read_gives_no_score(world: World, reply: tuple[int, bytes]) -> None:
    """It scored .500 with an interval of [.500, .500]."""
    records = [world.sees(i, w, top=12, silent=6) for i, w in enumerate(("mango", "cat"))]
    said_of = [words(0, "mango"), words(1, "cat")]
    with FakeLMM(
        raw=lambda r: reply if len(server.requests) > 2 else said('{"fit": "3"}')
    ) as server:
        judge = LMMJudge(lmm(server), grey)
        detection, specificity = DetectionScorer(judge), SpecificityScorer(judge)
        assert detection.score(records, said_of) == []
        assert specificity.score(records, said_of) == []
    assert detection.missing.keys() == specificity.missing.keys() == {0, 1}
    assert "could not be read" in detection.missing[0]
    assert 0 < judge.unread.total() <= judge.asked


def test_a_judge_that_was_never_read_is_asked_no_more(world: World) -> None:
    """Twenty thousand questions to learn that none can be read."""
    shown = world.scenes[:60]
    with FakeLMM(raw=lambda r: said("no idea")) as server:
        judge = LMMJudge(lmm(server), grey)
        with pytest.raises(ExplainError, match="judgements of fake could not be used"):
            judge.rate([words(0, "mango")], [shown])
    assert len(server.requests) < 2 * len(shown)


def test_a_few_missing_judgements_are_left_out_and_counted(world: World) -> None:
    """One in thirty says little of the others, and is told."""

    class Mostly:
        name = "mostly"

        def rate(self, explanations: Any, samples: Any) -> list[Any]:
            fits = [np.linspace(1.0, 0.0, len(group)) for group in samples]
            for fit in fits:
                fit[1] = np.nan
            return fits

    scores = DetectionScorer(Mostly()).score([world.sees(0, "mango")], [words(0, "mango")])
    assert {s.kind for s in scores} == {"detection", "detection_all", "detection_ap"}
    assert scores[0].value == pytest.approx(1.0) and scores[0].evidence["unread"] == 1
    assert np.isfinite([scores[0].low, scores[0].high]).all()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=8) | st.just(GOOD),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(["error", "message", "choices", "content", "code", "param", "detail",
                         "data",
                         "finish_reason", "usage", "object", "loc", "msg"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


BODIES = (
    JUNK.map(lambda tree: json.dumps(tree).encode())
    | st.binary(max_size=40)
    | JUNK.map(lambda tree: json.dumps({"choices": [tree]}).encode())
    | JUNK.map(lambda tree: json.dumps({"choices": [{"message": {"content": tree}}]}).encode())
)
STATUSES = st.sampled_from([200, 200, 200, 400, 401, 403, 404, 413, 422, 429, 500, 503])


@settings(
    max_examples=10,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(STATUSES, BODIES), min_size=20, max_size=20))
def test_any_answer_is_a_reply_or_a_sentence(
    world: World, answers_: list[tuple[int, bytes]]
) -> None:
    """And a judgement is a number that was read, or missing: 200 answers over HTTP."""

    async def run(server: FakeLMM) -> None:
        async with lmm(server).connect() as client:
            for now[0] in answers_:
                judge = LMMJudge(lmm(server, attempts=1), grey)
                try:
                    reply = await judge.lmm.ask(client, [{"role": "user", "content": "x"}])
                    assert reply.failure or reply.text.strip()
                    fit = await judge._one(client, words(0, "flag"), world.scenes[0])
                    assert np.isnan(fit) == (judge.unread.total() == 1)
                    assert now[0][0] == 200 or np.isnan(fit)
                except SemascopeError as told:
                    assert len(str(told)) > 20

    now: list[Any] = [None]
    with FakeLMM(raw=lambda r: now[0], retry_after=0.0) as server:
        asyncio.run(run(server))
