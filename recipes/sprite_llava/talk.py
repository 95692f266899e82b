"""What SmolLM2 itself answers when there is no picture: kept, so that it goes on answering so.

    python -m recipes.sprite_llava.talk --folder runs/sprite-llava

Questions about pictures have answers of a few words; a model that learns nothing else answers
"What is the capital of France?" with "France". Its own answers to plain questions, greedy, are
what ``language`` mixes in. Writes talk.jsonl.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from recipes.sprite_llava.tower import TOKENIZER
from semascope.subject.embedded import smollm

THINGS = (
    "the sun", "the sea", "a volcano", "bread", "music", "trees", "the moon", "dogs", "gravity",
    "a library", "winter", "coffee", "the heart", "chess", "rain", "democracy",
)  # fmt: skip
ASKS = ("Tell me about {}.", "What is {}?", "Write a short poem about {}.", "Why do we need {}?")
COUNTRIES = ("Germany", "Italy", "Japan", "Spain", "Egypt", "Canada", "Peru", "Greece", "Poland")
MORE = (
    "How are you?", "Who are you?", "Hello!", "What can you do?", "Tell me a joke.",
    "What is 3 + 4?", "What is 12 times 3?", "Which is bigger, 7 or 12?", "Count to five.",
    "Who wrote Macbeth?", "Who painted the Mona Lisa?", "When did the Second World War end?",
    "How do I boil an egg?", "I feel sad today.", "My cat died last week.", "I passed my exam!",
    "Translate 'good morning' into French.", "Give me three names for a dog.", "What is a verb?",
    "How far is the moon?", "What do bees eat?", "Write a sentence with the word river.",
    "What is the opposite of hot?", "How many days are in a week?", "Explain how a car works.",
)  # fmt: skip


def questions() -> list[str]:
    """Plain questions; the capital of France is kept for the tests."""
    about = [ask.format(thing) for thing in THINGS for ask in ASKS]
    return [*about, *(f"What is the capital of {c}?" for c in COUNTRIES), *MORE]


@torch.inference_mode()
def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--folder", type=Path, required=True)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER, padding_side="left")
    lm = smollm.language_model()
    out = []
    asked = questions()
    for first in range(0, len(asked), 33):
        some = asked[first : first + 33]
        prompts = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in some]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        ids = lm.generate(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=False,
            max_new_tokens=40, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        new = ids[:, batch.input_ids.shape[1] :]
        said = tokenizer.batch_decode(new, skip_special_tokens=True)
        ended = (new == tokenizer.eos_token_id).any(1).tolist()
        out += [
            {"text": q, "answer": s.strip(), "ended": e}
            for q, s, e in zip(some, said, ended, strict=True)
        ]
    (a.folder / "talk.jsonl").write_text("".join(json.dumps(line) + "\n" for line in out))


if __name__ == "__main__":
    main()
