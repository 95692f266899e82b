"""A small byte-level tokenizer for models of any family.

Every byte has a token, so any text survives a round trip; common words have their own tokens.
Families add the control tokens that they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

WORDS = """a an the is are and of to in on it what where which how many do you see there left right
above below red blue green yellow black white circle square triangle cat dog bird fish tree house
car boat cup book ball hat shoe flag face happy sad angry one two three four five six seven eight
nine ten yes no picture map word text colour background nothing this that here with say describe
question answer number date version verse larger smaller than system user assistant"""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% elif c['type'] == 'video' %}VIDEO"
    "{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A conversation in ChatML; ``IMAGE`` and ``VIDEO`` stand for the family's own placeholders."""


@lru_cache(maxsize=4)
def _trained(words: str) -> str:
    """The byte-level BPE over the word list, as the JSON that `tokenizers` reads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    spaced = " ".join(words.split())
    bpe.train_from_iterator([spaced] * 4, trainer)
    return str(bpe.to_str())


def make_tokenizer(
    special: Sequence[str] = (),
    *,
    bos: str | None = "<s>",
    eos: str = "<|im_end|>",
    named: Mapping[str, str] | None = None,
    chat_template: str | None = CHATML,
    image: str = "<image>",
    add_bos: bool = False,
) -> Any:
    """A fast tokenizer with these control tokens; ``named`` become attributes of it.

    ``add_bos`` puts the BOS before every text that is not a chat template's.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(WORDS)),
        bos_token=bos,
        eos_token=eos,
        pad_token="<pad>",
        extra_special_tokens=dict(named or {}),
        clean_up_tokenization_spaces=False,
    )
    present = set(tokenizer.all_special_tokens)
    wanted = ["<|im_start|>", "<|im_end|>", image, *special]
    fresh = [t for t in dict.fromkeys(wanted) if t not in present]
    tokenizer.add_tokens(fresh, special_tokens=True)
    if add_bos and bos is not None:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
        )
    if chat_template is not None:
        tokenizer.chat_template = chat_template.replace("IMAGE", image).replace("VIDEO", "<video>")
    return tokenizer
