"""Who speaks at which token, with tokenizers that do not say which letters a token stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    ByT5Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizer,
    PreTrainedTokenizerFast,
)

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SubjectError
from semascope.subject import Kind, Role, Subject
from semascope.subject.inputs.alignment import spans
from semascope.subject.testing.tokenizer import CHATML, WORDS, make_tokenizer

MARKS = ["<|im_start|>", "<|im_end|>"]
TALK = Sample("a", turns=(Turn("user", "hello you"), Turn("assistant", "fine")))


def subject(tokenizer: Any, template: str | None = CHATML) -> Subject:
    tokenizer.chat_template = template
    options = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=1, **options)
    return Subject(LlamaForCausalLM(config), tokenizer, name="words")


def spoken(s: Subject, sample: Sample, role: Role) -> str:
    """The words of a role, by the map."""
    m = s.encode([sample]).maps[0]
    chosen = (m.kinds == Kind.TEXT) & (m.roles == role)
    return "".join(t for t, c in zip(m.tokens, chosen, strict=True) if c)


def bytes_alone() -> ByT5Tokenizer:
    tokenizer = ByT5Tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    return tokenizer


def test_bytes_without_offsets() -> None:
    """Nobody spoke anywhere, and the template's own words counted as the user's."""
    s = subject(bytes_alone())
    assert spoken(s, TALK, Role.USER) == "hello you"
    assert spoken(s, TALK, Role.ASSISTANT) == "fine"


def test_letters_of_several_tokens_without_offsets() -> None:
    """Half a letter decodes to a mark that is in no text; all its tokens stand for the letter."""
    s = subject(bytes_alone())
    m = s.encode([Sample("a", turns=(Turn("user", "né 猫 🙂"),))]).maps[0]
    assert int((m.kinds == Kind.TEXT).sum()) == len("né 猫 🙂".encode())


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
@settings(max_examples=60, deadline=None)
def test_spans_cover_any_text_in_order(text: str) -> None:
    """Tokens laid along the wrong letters would give words to who did not say them."""
    tokenizer = BYTES
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = spans(tokenizer, text, ids, None, lambda i: tokenizer.decode([i]))
    assert found is not None and len(found) == len(ids)
    assert [a for a, _ in found] == sorted(a for a, _ in found)
    assert "".join(text[a:b] for a, b in dict.fromkeys(found)) == text


BYTES = bytes_alone()


class Lossy(PreTrainedTokenizer):
    """Words in a list, all others unknown: what it decodes is not the text."""

    def __init__(self, **options: Any) -> None:
        self.words = ["<unk>", "hello", "you", "user", "assistant", *MARKS]
        super().__init__(unk_token="<unk>", **options)

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def get_vocab(self) -> dict[str, int]:
        return {word: n for n, word in enumerate(self.words)}

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        return text.split()

    def _convert_token_to_id(self, token: str) -> int:
        return self.get_vocab().get(token, 0)

    def _convert_id_to_token(self, index: int) -> str:
        return self.words[index]


def test_who_speaks_cannot_be_found_is_said() -> None:
    """Turns whose words cannot be told from the template's are refused; plain text is read."""
    s = subject(Lossy())
    with pytest.raises(SubjectError, match="roles of tokens are unknown"):
        s.encode([TALK])
    assert len(s.encode([Sample("a", text="hello you")]).maps[0]) == 2


def fast(kind: str) -> PreTrainedTokenizerFast:
    """A fast tokenizer with one of the ways in which offsets and texts come to differ."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet = [chr(n) for n in range(33, 127)]
    if kind == "prefix space":
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    elif kind == "metaspace":
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        bpe.decoder = decoders.Metaspace(prepend_scheme="always")
    elif kind == "prepended":
        bpe.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    elif kind == "lowercase":
        bpe.normalizer = normalizers.Lowercase()
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", *MARKS]
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=[*alphabet, "▁", "\n"], special_tokens=special,
        show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator([WORDS] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", additional_special_tokens=MARKS
    )


@pytest.mark.parametrize("kind", ["prefix space", "metaspace", "prepended", "lowercase"])
def test_fast_tokenizers_that_change_the_text(kind: str) -> None:
    """A space that the tokenizer adds must not shift who says what."""
    s = subject(fast(kind))
    user = spoken(s, Sample("a", turns=(Turn("user", "Hello you two"),)), Role.USER)
    assert "".join(user.split()).lower() == "helloyoutwo"
    assert "".join(spoken(s, TALK, Role.ASSISTANT).split()) == "fine"


def test_offsets_that_are_wrong_are_found_out() -> None:
    """Held against the tokens' own text, they are replaced by what decoding gives."""
    tokenizer = make_tokenizer()
    text = "A red circle is above the tree"
    ids = tokenizer(text)["input_ids"]
    shifted = [(n, n + 1) for n in range(len(ids))]
    found = spans(tokenizer, text, ids, shifted, lambda i: tokenizer.decode([i]))
    assert found == [tuple(s) for s in tokenizer(text, return_offsets_mapping=True).offset_mapping]


def test_turns_without_a_chat_template_have_speakers() -> None:
    """--roles user selected nothing with base models."""
    s = subject(make_tokenizer(chat_template=None), None)
    assert spoken(s, TALK, Role.USER).strip() == "hello you"
    assert spoken(s, TALK, Role.ASSISTANT) == "fine"
    m = s.encode([TALK], answer="so").maps[0]
    assert (m.roles != Role.NONE).all()


def test_a_template_that_knows_no_system_says_so() -> None:
    """The template's own words, in a sentence."""
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    s = subject(make_tokenizer(), refuses + CHATML)
    with pytest.raises(SubjectError, match="no system"):
        s.encode([Sample("a", turns=(Turn("system", "be brief"), Turn("user", "hello")))])
    assert spoken(s, TALK, Role.USER) == "hello you"


def test_padding_that_is_the_end_is_told_by_the_mask() -> None:
    """With pad = eos an id says nothing: an end of turn in the text is no padding."""
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    s = subject(tokenizer)
    batch = s.encode([TALK, Sample("b", turns=(Turn("user", "hello you " * 5),))])
    m = batch.maps[0]
    real = m.ids[batch.mask[0].numpy()]
    assert (real == tokenizer.eos_token_id).sum() == 2
    assert ((m.kinds == Kind.PAD) == ~batch.mask[0].numpy()).all()
    assert not np.isin(m.kinds[: len(real)], [Kind.PAD]).any()
