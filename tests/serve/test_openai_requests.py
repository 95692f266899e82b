"""What clients of ``/v1`` send: kept, or refused by name; never ignored, and never a traceback.

The golden bodies are those that the libraries send of themselves: langchain-openai 1.7,
llama-index-llms-openai-like 0.8, litellm 1.110.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from semascope.errors import TooLong
from semascope.serve.app import make_app
from semascope.serve.explorer.model import turn
from semascope.serve.openai.answer import aligned
from semascope.serve.queue.jobs import More
from semascope.serve.schema.answers import Token
from semascope.serve.schema.events import Emit
from semascope.serve.schema.requests import ChatAsk, Message, RequestBody
from semascope.serve.testing import DrawnExplorer


def png(colour: str = "red", kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, kind)
    body = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{body}"


MODEL = "drawn-subject"
HELLO = {"role": "user", "content": "hello"}
ASK: dict[str, Any] = {"model": MODEL, "messages": [HELLO]}
CHAT = "/v1/chat/completions"
SEEN = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": png()}}]
GOLDEN = {
    "langchain": (CHAT, {"messages": [{"content": "Be brief.", "role": "system"}, HELLO],
                         "model": MODEL, "stream": False}),
    "langchain, a stream": (CHAT, {"messages": [HELLO], "model": MODEL, "stream": True}),
    "langchain, a picture": (CHAT, {"messages": [{"content": SEEN, "role": "user"}],
                                    "model": MODEL, "stream": False}),
    "llama-index": (CHAT, {"messages": [HELLO], "model": MODEL, "stream": False,
                           "temperature": 0.1}),
    "llama-index, a stream": (CHAT, {"messages": [HELLO], "model": MODEL, "stream": True,
                                     "temperature": 0.1}),
    "llama-index, no chat model": ("/v1/completions", {"model": MODEL, "prompt": "hello",
                                                       "stream": False, "temperature": 0.1}),
    "litellm": (CHAT, ASK),
    "litellm, all given": (CHAT, {"model": MODEL, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "?"},
        {"type": "image_url", "image_url": {"url": png(), "detail": "low"}}]}],
        "n": 1, "max_tokens": 16}),
    "openai, an answer sent back": (CHAT, {"model": MODEL, "messages": [HELLO, {
        "role": "assistant", "content": "Hi.", "refusal": None, "annotations": [], "audio": None,
        "function_call": None, "tool_calls": None}, {"role": "user", "content": "and?"}]}),
    "openai, a developer": (CHAT, {"model": MODEL, "store": False, "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, HELLO]}),
}  # fmt: skip
"""Path and body of what libraries send by default."""
NULLS = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "stream",
         "stream_options", "logprobs", "top_logprobs", "seed", "tools", "tool_choice",
         "response_format", "logit_bias", "frequency_penalty", "presence_penalty", "user",
         "functions", "prefill", "interventions", "metadata", "model")  # fmt: skip
REFUSED: dict[str, Any] = {
    "n": 2, "response_format": {"type": "json_object"}, "tools": [{"type": "function"}],
    "tool_choice": "required", "functions": [{}], "logit_bias": {"5": 1}, "frequency_penalty": 0.5,
    "presence_penalty": -1, "parallel_tool_calls": "x", "reasoning_effort": "low", "echo": True,
    "modalities": ["text", "audio"], "audio": {"voice": "x"}, "web_search_options": {"a": 1},
    "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "best_of": 3, "store": True,
    "service_tier": "flex", "guided_json": {"a": 1}, "temperatur": 1.0,
    "stop": ["x"] * 17, "top_logprobs": 3, "stream_options": {"include_usage": True},
    "temperature": -0.1, "top_p": 0, "max_tokens": 0, "max_completion_tokens": -5,
    "seed": "7", "stream": "yes", "logprobs": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("v1")
    app = make_app(DrawnExplorer(folder), static=folder / "none")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def error_of(got: Any, status: int = 400) -> dict[str, Any]:
    assert got.status_code == status, got.text
    error: dict[str, Any] = got.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


@pytest.mark.parametrize("name", GOLDEN)
def test_libraries_work_with_what_they_send_of_themselves(v1: TestClient, name: str) -> None:
    """A library's default request that is refused leaves its user without an answer."""
    path, body = GOLDEN[name]
    got = v1.post(path, json=body)
    assert got.status_code == 200, got.text
    if body.get("stream"):
        assert got.text.endswith("data: [DONE]\n\n")
    elif path == CHAT:
        assert "You said" in got.json()["choices"][0]["message"]["content"]
    else:
        assert "You said" in got.json()["choices"][0]["text"]


@pytest.mark.parametrize("name", NULLS)
def test_null_is_the_same_as_nothing(v1: TestClient, name: str) -> None:
    """The specification allows null where a field may be left out."""
    assert v1.post(CHAT, json=ASK | {name: None}).status_code == 200


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_done_is_refused_by_name(v1: TestClient, name: str) -> None:
    """A field that was ignored gave another answer than was asked for, and said nothing."""
    error = error_of(v1.post(CHAT, json=ASK | {name: REFUSED[name]}))
    assert name in error["message"]
    assert (error["param"] or name).partition(".")[0] == name


def test_numbers_that_are_none_are_refused(v1: TestClient) -> None:
    """Python's JSON knows NaN and Infinity."""
    for name in ("temperature", "top_p", "max_tokens", "seed", "n", "presence_penalty"):
        for value in ("NaN", "Infinity", "-Infinity", "1e400"):
            text = json.dumps(ASK)[:-1] + f', "{name}": {value}}}'
            got = v1.post(CHAT, content=text, headers={"content-type": "application/json"})
            assert name in error_of(got)["message"]


def test_roles_and_parts_that_are_not_read_are_refused(v1: TestClient) -> None:
    """Tools, sound and files have no place in a prompt here."""
    for message in (
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": [{"type": "file", "file": {}}]},
        {"role": "user", "content": "x", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 7}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": png(),
                                                                      "detail": "best"}}]},
    ):  # fmt: skip
        error = error_of(v1.post(CHAT, json=ASK | {"messages": [message, HELLO]}))
        assert "messages" in error["param"]


def test_models_and_unknown_routes(v1: TestClient) -> None:
    """Every error is in the shape that OpenAI's package reads."""
    assert v1.get(f"/v1/models/{MODEL}").json()["id"] == MODEL
    assert error_of(v1.get("/v1/models/gpt-4o"), 404)["code"] == "model_not_found"
    error = error_of(v1.post(CHAT, json=ASK | {"model": "gpt-4o"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    for path in ("/v1/embeddings", "/v1/responses", "/v1/audio/speech", "/v1"):
        got = v1.post(path, json={})
        assert got.status_code in (404, 405) and "error" in got.json()
    assert error_of(v1.post("/v1/embeddings", json={}), 404)["code"] == "unknown_url"
    assert error_of(v1.get(CHAT), 404)


def test_limits_hold_and_long_prompts_are_refused(v1: TestClient) -> None:
    """4,096 tokens are many clients' default; a prompt is never cut in silence."""
    assert v1.post(CHAT, json=ASK | {"max_tokens": 4096}).status_code == 200
    long = [{"role": "user", "content": "x" * 20_001}]
    assert error_of(v1.post(CHAT, json=ASK | {"messages": long}))["code"] == (
        "context_length_exceeded"
    )
    many = [{"role": "user", "content": "x" * 19_000}] * 4
    assert error_of(v1.post(CHAT, json=ASK | {"messages": many}))["code"] == (
        "context_length_exceeded"
    )


def test_a_prompt_longer_than_the_model_is_an_error(tmp_path: Path) -> None:
    """Found by the model's thread: told as a status, of a stream too."""

    class Short(DrawnExplorer):
        def ask(self, ask: RequestBody, emit: Emit) -> More:
            assert isinstance(ask, ChatAsk)
            raise TooLong("The prompt has 9,000 tokens, and the model reads 8,192.")

    with TestClient(make_app(Short(tmp_path), static=tmp_path / "none")) as client:
        for stream in (False, True):
            error = error_of(client.post(CHAT, json=ASK | {"stream": stream}))
            assert error["code"] == "context_length_exceeded"


def test_pictures_come_in_every_common_form(v1: TestClient) -> None:
    """PNG, JPEG, WebP; a type in capitals, parameters, lines; a string in place of an object."""
    urls: list[Any] = [{"url": png(kind=kind)} for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    urls.append({"url": png().replace("data:image/png", "data:image/PNG;charset=utf-8")})
    urls.append({"url": png()[:60] + "\n" + png()[60:], "detail": "high"})
    urls.append(png())
    for url in urls:
        parts = [{"type": "image_url", "image_url": url}, {"type": "text", "text": "?"}]
        got = v1.post(CHAT, json=ASK | {"messages": [{"role": "user", "content": parts}]})
        assert got.status_code == 200, got.text
    for bad in ("https://example.com/x.png", "data:image/png;base64,!!", "data:text/plain,x", "",
                "data:image/png;base64," + base64.b64encode(b"no picture").decode()):  # fmt: skip
        parts = [{"type": "image_url", "image_url": {"url": bad}}]
        error_of(v1.post(CHAT, json=ASK | {"messages": [{"role": "user", "content": parts}]}))


def test_texts_and_pictures_keep_their_order(tmp_path: Path) -> None:
    """Text, picture, text, picture became picture, picture, text."""
    heard: list[ChatAsk] = []

    class Hearing(DrawnExplorer):
        def ask(self, ask: RequestBody, emit: Emit) -> More:
            assert isinstance(ask, ChatAsk)
            heard.append(ask)
            return super().ask(ask, emit)

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words}

    def picture(colour: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": png(colour)}}

    parts = [text("First:"), picture("red"), text("Second:"), picture("blue"), text("Which?")]
    with TestClient(make_app(Hearing(tmp_path), static=tmp_path / "none")) as client:
        for some in (parts, [picture("red"), text("a"), text("b")], [text("a\ufffc"), parts[1]]):
            body = ASK | {"messages": [{"role": "user", "content": some}]}
            assert client.post(CHAT, json=body).status_code == 200
    first, second, third = (turn(ask.messages[0]) for ask in heard)
    assert first.pieces == ("First:", "Second:", "Which?") and first.images == 2
    assert (second.text, second.at, second.pieces) == ("a\nb", (), ("", "a\nb"))
    assert third.pieces == ("a\ufffd", "")
    assert turn(Message(role="user", text="a\ufffcb")).text == "a\ufffcb"  # a letter like others


def test_log_probabilities_are_of_the_words_that_are_told(v1: TestClient) -> None:
    """A stop took words from the content and left their tokens."""
    for stop in ("said", "ou", "'hel"):
        body = ASK | {"stop": [stop], "logprobs": True, "top_logprobs": 1}
        choice = v1.post(CHAT, json=body).json()["choices"][0]
        told = "".join(t["token"] for t in choice["logprobs"]["content"])
        assert told == choice["message"]["content"]
        got = v1.post(CHAT, json=body | {"stream": True}).text.strip().split("\n\n")[:-1]
        chunks = [json.loads(line.removeprefix("data: "))["choices"][0] for line in got]
        words = "".join(c["delta"].get("content", "") for c in chunks)
        tokens = [t for c in chunks if c["logprobs"] for t in c["logprobs"]["content"]]
        assert "".join(t["token"] for t in tokens) == words == told


def test_tokens_that_are_parts_of_letters_still_join_to_the_text() -> None:
    """A letter of two tokens is the last one's; a leading space that decoding drops is nobody's."""

    def tokens(*texts: str) -> list[Token]:
        return [Token(side="answer", id=1, text=text, logprob=-1.0) for text in texts]

    def parts(said: list[Token], text: str) -> list[str]:
        return [part for _, part in aligned(said, text)]

    assert parts(tokens("caf", "\ufffd", "\ufffd", " x"), "caf\u00e9 x") == [
        "caf",
        "",
        "\u00e9",
        " x",
    ]
    assert parts(tokens("one", " two"), "one t") == ["one", " t"]
    assert "".join(parts(tokens(" one", " two"), "one two")) == "one two"
    assert parts(tokens("a", "b"), "") == []


def test_many_at_once_are_served_in_turn_and_too_many_told_when_to_come_again(
    tmp_path: Path,
) -> None:
    """Eight at once from one address got 429 for three, without a word when to come again."""
    with TestClient(make_app(DrawnExplorer(tmp_path), static=tmp_path / "none")) as client:
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(client.post(CHAT, json=ASK).status_code))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [200] * 8
    app = make_app(DrawnExplorer(tmp_path), static=tmp_path / "none", most_waiting=0)
    with TestClient(app) as client:
        got = client.post(CHAT, json=ASK)
        assert error_of(got, 429)["code"] == "rate_limit_exceeded"
        assert int(got.headers["retry-after"]) > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "image_url", "url", "role", "content", "name"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from([*NULLS, *REFUSED, "messages", "prompt", "x"])


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from([CHAT, "/v1/completions"]),
    more=st.dictionaries(FIELDS, JSON, max_size=3),
    messages=st.none() | st.lists(st.fixed_dictionaries({"role": st.sampled_from(
        ["user", "assistant", "system", "tool"]), "content": JSON}), max_size=3),
)  # fmt: skip
def test_hostile_bodies_are_answered_or_refused(
    v1: TestClient, path: str, more: dict[str, Any], messages: Any
) -> None:
    """Whatever is sent: an answer, or a sentence in OpenAI's shape; never a failure of ours."""
    body = {"model": MODEL, "prompt": "x"} if path != CHAT else dict(ASK)
    body |= more | ({"messages": messages} if messages is not None and path == CHAT else {})
    text = json.dumps(body)
    got = v1.post(path, content=text, headers={"content-type": "application/json"})
    assert got.status_code == 200 or error_of(got, got.status_code)
    assert got.status_code < 500, got.text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 50_000, b'{"a": "\\ud800"}',
     b'{"\\ud800": 1, "messages": [{"role": "user", "content": "\\ud800"}]}'],
)  # fmt: skip
def test_bodies_that_are_no_request(v1: TestClient, content: bytes) -> None:
    """Not JSON, JSON of another shape, half a surrogate pair in a value and in a name."""
    got = v1.post(CHAT, content=content, headers={"content-type": "application/json"})
    error_of(got)


def test_the_model_is_free_when_a_client_has_gone(tmp_path: Path) -> None:
    """An answer that nobody reads held the model to its end."""
    import asyncio

    stopped = threading.Event()

    class Slow(DrawnExplorer):
        def ask(self, ask: RequestBody, emit: Emit) -> More:
            assert isinstance(ask, ChatAsk)
            for _ in range(2_000):
                if emit(Token(side="answer", id=1, text="x", logprob=-1.0)):
                    stopped.set()
                    return None
                time.sleep(0.005)
            return None

    app = make_app(Slow(tmp_path), static=tmp_path / "none")
    sent: list[Any] = []

    async def call() -> None:
        body = json.dumps(ASK).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 8)  # type: ignore[arg-type]

    asyncio.run(call())
    assert stopped.wait(5)
    app.state.worker.close()
