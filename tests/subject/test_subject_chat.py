"""Who says each letter, whatever the chat template does."""

import pytest
from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SubjectError
from semascope.subject.inputs.chat_template import ChatTemplate, RenderedChat, render
from semascope.subject.testing import make_tokenizer
from semascope.subject.testing.tokenizer import CHATML
from semascope.subject.types import Role

TALK = (Turn("user", "Hello there"), Turn("assistant", "Hi"), Turn("user", "Bye"))
PREACHY = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
    + CHATML
)
STRICT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}[{{ m['role'] }}] {{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


LOOKAHEAD = (
    "{% set found = namespace(deep=false) %}{% for m in messages %}{% if 'Bye' in m['content'] %}"
    "{% set found.deep = true %}{% endif %}{% endfor %}"
    "{% if not found.deep %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}" + CHATML
)


def spoken(template: str | None, sample: Sample, answer: str | None = None) -> RenderedChat:
    return render(ChatTemplate(make_tokenizer(chat_template=template), None), sample, answer)


def said(rendered: RenderedChat, role: Role) -> str:
    return "".join(c for c, r in zip(rendered.text, rendered.roles, strict=True) if r == role)


def test_each_turn_has_its_letters() -> None:
    """A role read off one template's markers would be wrong for every other template."""
    r = spoken(CHATML, Sample("a", turns=TALK))
    assert said(r, Role.USER) == (
        "<|im_start|>user\nHello there<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    )
    assert said(r, Role.ASSISTANT) == "<|im_start|>assistant\nHi<|im_end|>\n"
    words = "".join(c for c, own in zip(r.text, r.content, strict=True) if own)
    assert words == "Hello thereHiBye"


def test_a_system_prompt_of_the_templates_own_is_not_the_users() -> None:
    r = spoken(PREACHY, Sample("a", turns=TALK))
    assert said(r, Role.SYSTEM) == "<|im_start|>system\nBe good.<|im_end|>\n"
    given = spoken(PREACHY, Sample("a", turns=(Turn("system", "Be bad."), *TALK)))
    assert said(given, Role.SYSTEM) == "<|im_start|>system\nBe bad.<|im_end|>\n"


def test_a_template_that_looks_ahead_does_not_mix_up_its_turns() -> None:
    """Its prefixes are not prefixes of its text: the first turn alone has a system prompt."""
    r = spoken(LOOKAHEAD, Sample("a", turns=TALK))
    assert said(r, Role.ASSISTANT) == "<|im_start|>assistant\nHi<|im_end|>\n"
    assert said(r, Role.SYSTEM) == ""
    assert said(spoken(LOOKAHEAD, Sample("a", turns=TALK[:2])), Role.SYSTEM).endswith(
        "brief.<|im_end|>\n"
    )


def test_words_that_the_template_says_too_are_told_apart() -> None:
    turns = (Turn("user", "user"), Turn("assistant", "start"), Turn("user", "user"))
    r = spoken(PREACHY, Sample("a", turns=turns))
    at = [n for n, own in enumerate(r.content) if own]
    assert "".join(r.text[n] for n in at) == "userstartuser"
    assert all(r.text[n - 1] == "\n" for n in (at[0], at[4], at[9]))


def test_a_template_that_refuses_a_role_says_so_in_a_sentence() -> None:
    assert said(spoken(STRICT, Sample("a", turns=TALK)), Role.ASSISTANT) == "[assistant] Hi\n"
    with pytest.raises(SubjectError, match="no system"):
        spoken(STRICT, Sample("a", turns=(Turn("system", "x"), *TALK)))


def test_an_answer_begins_in_the_assistants_turn() -> None:
    r = spoken(CHATML, Sample("a", turns=TALK[:1]), answer="Well,")
    assert r.text.endswith("<|im_start|>assistant\nWell,")
    assert said(r, Role.ASSISTANT) == "<|im_start|>assistant\nWell,"


def test_text_without_turns_or_template_stays_plain() -> None:
    r = spoken(CHATML, Sample("a", text="A plain page."))
    assert (r.text, r.templated) == ("A plain page.", False)
    assert set(r.roles) == {Role.NONE}
    assert spoken(None, Sample("a", turns=TALK)).text == "Hello there\nHi\nBye"


def test_more_pictures_shown_than_given_is_an_error() -> None:
    sample = Sample("a", turns=(Turn("user", "x", images=2),), images=(Image.new("RGB", (4, 4)),))
    with pytest.raises(SubjectError, match="1 pictures and its turns show 2"):
        render(ChatTemplate(make_tokenizer(), "<image>"), sample, None)


def test_a_template_of_plain_strings_can_show_pictures_too() -> None:
    """Given a list it would print Python's brackets, and the model would read them."""
    plain = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    template = ChatTemplate(make_tokenizer(chat_template=plain), "<image>")
    image = Image.new("RGB", (4, 4))
    shown = Sample("a", turns=(Turn("user", "What?", images=1),), images=(image,))
    assert render(template, shown, None).text == "user: <image>What?\n"
    assert render(template, Sample("b", turns=TALK[:1]), None).text == "user: Hello there\n"


def test_pictures_that_no_turn_shows_go_to_the_first_user_turn() -> None:
    sample = Sample("a", turns=TALK, images=(Image.new("RGB", (4, 4)),))
    r = render(ChatTemplate(make_tokenizer(), "<image>"), sample, None)
    assert r.text.startswith("<|im_start|>user\n<image>Hello")
