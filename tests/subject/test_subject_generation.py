"""Answers: the same as transformers', alone or in a batch, edited at every position."""

import pytest
import torch
from samples_of_subjects import asked, picture

from semascope.subject import EditContext, TokenChoice
from semascope.subject.testing import MAKERS


def question(s, text: str = "What is there?", size: tuple[int, int] = (90, 50)):
    return asked(text, *((picture(*size),) if s.has_vision else ()))


@pytest.mark.parametrize("family", MAKERS)
def test_greedy_answers_are_those_of_transformers(subject, family) -> None:
    """Every family keeps its positions and its pictures in its own way while decoding."""
    s = subject(family)
    batch = s.encode([question(s)], answer="", max_tokens=None)
    told = s.model.generate(
        **batch.inputs, max_new_tokens=6, do_sample=False, pad_token_id=0, use_cache=True
    )
    ours = s.generate(question(s), max_new_tokens=6)
    theirs = told[0, len(batch.maps[0]) :].tolist()
    assert [c.id for c in ours.tokens] == theirs
    assert ours.prompt_tokens == len(batch.maps[0])


@pytest.mark.parametrize("family", ["llama", "gpt2", "llava_next", "qwen2_vl", "paligemma"])
def test_an_answer_does_not_depend_on_its_neighbours(subject, family) -> None:
    s = subject(family)
    samples = [question(s), question(s, "Is it red or is it blue, the house?", (40, 120))]
    together = s.generate_batch(samples, max_new_tokens=5, temperature=0.7, seed=3)
    for sample, answer in zip(samples, together, strict=True):
        alone = s.generate(sample, max_new_tokens=5, temperature=0.7, seed=3)
        assert [c.id for c in answer.tokens] == [c.id for c in alone.tokens]
        for a, b in zip(answer.tokens, alone.tokens, strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=1e-3)


def test_sampling_is_by_seed(subject) -> None:
    s = subject("llama")

    def draw(seed: int) -> list[int]:
        answer = s.generate(question(s), max_new_tokens=12, temperature=1.5, seed=seed)
        return [c.id for c in answer.tokens]

    assert draw(1) == draw(1) != draw(2)


def test_each_token_tells_its_distribution(subject) -> None:
    s = subject("llama")
    answer = s.generate(question(s), max_new_tokens=3, top=4)
    batch = s.encode([question(s)], answer=answer.text)
    logp = s.logits(s.encode([question(s)], answer=""))[0, -1].log_softmax(-1)
    first = answer.tokens[0]
    assert first.logprob == pytest.approx(float(logp.max()), abs=1e-4)
    assert first.entropy == pytest.approx(float(-(logp.exp() * logp).sum()), abs=1e-3)
    assert len(first.top) == 4 and first.top[0][0] == first.id
    assert [p for _, _, p in first.top] == sorted((p for _, _, p in first.top), reverse=True)
    assert len(batch.maps) == 1


def test_a_sink_hears_every_token_and_may_stop(subject) -> None:
    s = subject("llama")
    heard: list[TokenChoice] = []

    def sink(choice: TokenChoice) -> bool:
        heard.append(choice)
        return len(heard) == 3

    answer = s.generate(question(s), max_new_tokens=20, sink=sink)
    assert answer.stopped == "cancelled"
    assert list(answer.tokens) == heard and len(heard) == 3


@pytest.mark.parametrize("family", ["llama", "llava", "qwen2_vl", "gemma2"])
def test_edits_know_where_they_are_at_prefill_and_at_every_token(subject, family) -> None:
    """An edit of chosen tokens would hit the wrong ones if decoding said 0."""
    s = subject(family)
    seen: list[tuple[int, int]] = []

    def watch(x: torch.Tensor, context: EditContext) -> torch.Tensor:
        seen.append((context.start, x.shape[1]))
        assert len(context.maps) == 1
        return x

    answer = s.generate(question(s), max_new_tokens=4, edits={"resid_post.1": watch})
    n = answer.prompt_tokens
    assert seen == [(0, n), (n, 1), (n + 1, 1), (n + 2, 1)]


def test_an_edit_while_decoding_is_the_edit_of_the_whole(subject) -> None:
    """Steering a cached token once must equal steering it in a pass without a cache."""
    s = subject("llama")
    push = {"resid_post.1": lambda x, _: x + 0.5}
    answer = s.generate(question(s), max_new_tokens=5, edits=push)
    batch = s.encode([question(s)], answer="")
    ids = batch.inputs["input_ids"]
    for choice in answer.tokens:
        with s.editing(push, batch.maps):
            logits = s.model(input_ids=ids, use_cache=False).logits[0, -1]
        assert int(logits.argmax()) == choice.id
        ids = torch.cat([ids, torch.tensor([[choice.id]])], dim=1)


def test_an_answer_ends_at_eos_or_at_its_length(subject) -> None:
    s = subject("llama")
    eos = s.tokenizer.eos_token_id
    weight = s.embeddings()

    def to_eos(x: torch.Tensor, _: EditContext) -> torch.Tensor:
        return torch.zeros_like(x) + 50 * s.unembedding()[eos]

    assert weight.shape == (len(s.tokenizer), 32)
    ended = s.generate(question(s), edits={"resid_post.2": to_eos})
    assert (ended.stopped, len(ended.tokens), ended.text) == ("eos", 1, "")
    assert ended.tokens[0].ends
    cut = s.generate(question(s), max_new_tokens=2)
    assert cut.stopped == "length"
    assert not any(token.ends for token in cut.tokens)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_never_holds_what_stands_for_a_picture(subject, temperature: float) -> None:
    """Else whoever reads on from the answer looks for a picture that is not there."""
    s = subject("qwen2_vl")
    mark = s.encoder.image_token_id

    def to_mark(x: torch.Tensor, _: EditContext) -> torch.Tensor:
        return torch.zeros_like(x) + 50 * s.unembedding()[mark]

    push = {"resid_post.2": to_mark}
    answer = s.generate(question(s), edits=push, max_new_tokens=3, temperature=temperature)
    assert answer.tokens[0].top[0][0] == mark  # it is told what the model would rather have said
    assert mark not in [token.id for token in answer.tokens]
