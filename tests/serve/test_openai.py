"""The OpenAI-compatible endpoint, asked by the ``openai`` package itself over a real socket."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from PIL import Image

from semascope.serve.app import make_app
from semascope.serve.openai.routes import ChatRequest, _chunks, cut, settled
from semascope.serve.schema.answers import Answered, Token
from semascope.serve.socket import address, listen
from semascope.serve.testing import DrawnExplorer

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("media")
    with listen("127.0.0.1", 0) as listener:
        app = make_app(DrawnExplorer(folder), token="secret", static=folder / "none")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with openai.OpenAI(base_url=f"{address(listener)}v1", api_key="secret") as client:
            yield client
        server.should_exit = True
        thread.join(timeout=20)


def ask(sdk: Any, content: Any = "hello", **more: Any) -> Any:
    return sdk.chat.completions.create(
        model="drawn-subject", messages=[{"role": "user", "content": content}], **more
    )


def test_a_question_is_answered(sdk: Any) -> None:
    got = ask(sdk)
    assert got.choices[0].message.content == "You said 'hello' with 0 pictures."
    assert got.choices[0].finish_reason == "stop" and got.usage.completion_tokens == 6
    assert [m.id for m in sdk.models.list()] == ["drawn-subject"]


def test_a_picture_is_seen(sdk: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    got = ask(
        sdk, [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    )
    assert "with 1 pictures" in got.choices[0].message.content


@pytest.mark.parametrize("url", ["http://evil.example/x.png", "file:///etc/passwd", "media:../x"])
def test_nothing_is_fetched_from_elsewhere(sdk: Any, url: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(sdk, [{"type": "image_url", "image_url": {"url": url}}])
    assert caught.value.status_code == 400
    assert caught.value.param == "messages[0].content[0].image_url"


def test_logprobs_come_with_alternatives(sdk: Any) -> None:
    got = ask(sdk, logprobs=True, top_logprobs=3)
    tokens = got.choices[0].logprobs.content
    assert "".join(t.token for t in tokens) == got.choices[0].message.content
    assert all(t.logprob <= 0 and len(t.top_logprobs) == 3 for t in tokens)


def test_a_stream_adds_up_to_the_whole(sdk: Any) -> None:
    whole = ask(sdk).choices[0].message.content
    chunks = list(ask(sdk, stream=True, stream_options={"include_usage": True}))
    parts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(parts) == whole and chunks[-1].usage.completion_tokens == 6
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_what_closes_an_answer_is_no_word_of_a_stream() -> None:
    class Heard:
        async def events(self) -> AsyncIterator[Any]:
            yield Token(side="answer", id=7, text="Hello", logprob=-0.1)
            yield Token(side="answer", id=2, text="<|im_end|>", logprob=-0.1, ends=True)
            yield Answered(side="answer", text="Hello", stopped="eos", prompt_tokens=3, seconds=0.1)

    async def read() -> list[str]:
        asked = ChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}]})
        return [line async for line in _chunks(Heard(), asked, {})]  # type: ignore[arg-type]

    sent = [json.loads(line.removeprefix("data: ")) for line in asyncio.run(read())[:-1]]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in sent) == "Hello"
    assert sent[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_never_takes_back_what_it_sent() -> None:
    """A stop that spans two tokens, a character that spans two; the end sends what was held."""
    assert settled("one END", ["END"]) == "one "
    assert settled("one EN", ["END", "NX"]) == "one "
    assert settled("one E", ["END"]) == "one "
    assert settled("one", ["END"]) == "one"
    assert settled("caf\ufffd", []) == "caf"

    async def sent(pieces: list[str], whole: str, stop: str | None) -> str:
        class Heard:
            async def events(self) -> AsyncIterator[Any]:
                for number, piece in enumerate(pieces):
                    yield Token(side="answer", id=number, text=piece, logprob=-0.1)
                yield Answered(
                    side="answer", text=whole, stopped="eos", prompt_tokens=3, seconds=0.1
                )

        asked = ChatRequest.model_validate(
            {"messages": [{"role": "user", "content": "hi"}], "stop": stop}
        )
        lines = [line async for line in _chunks(Heard(), asked, {})]  # type: ignore[arg-type]
        bodies = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        return "".join(b["choices"][0]["delta"].get("content", "") for b in bodies)

    assert (
        asyncio.run(sent(["caf", "\ufffd", "\ufffd", " x"], "caf\u00e9 x", None)) == "caf\u00e9 x"
    )
    assert asyncio.run(sent(["one E", "ND two"], "one END two", "END")) == "one "
    assert asyncio.run(sent(["one E", "AT"], "one EAT", "END")) == "one EAT"


def test_interventions_reach_the_model(sdk: Any) -> None:
    wish = {"features": [["resid_post.12/drawn", 1]], "how": "ablate"}
    got = ask(sdk, extra_body={"interventions": [wish]})
    assert got.choices[0].message.content == "YOU SAID 'HELLO' WITH 0 PICTURES."


def test_an_answer_ends_at_a_stop_and_at_the_limit(sdk: Any) -> None:
    assert ask(sdk, stop="said").choices[0].message.content == "You "
    parts = [c.choices[0].delta.content or "" for c in ask(sdk, stop="said", stream=True)]
    assert "".join(parts) == "You "
    assert ask(sdk, max_tokens=2).choices[0].message.content == "You said"
    assert cut("abc", ["x"]) == "abc" and cut("abcb", ["c", "b"]) == "a"


def test_errors_are_those_of_the_package(sdk: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="less than or equal to 2"):
        ask(sdk, temperature=9)
    with pytest.raises(openai.BadRequestError, match="last message"):
        sdk.chat.completions.create(
            model="drawn-subject", messages=[{"role": "assistant", "content": "I began."}]
        )
    with pytest.raises(openai.AuthenticationError):
        ask(sdk.with_options(api_key="wrong"))
