"""Beam search under interventions: the model's own ``generate`` with the edits as hooks.

Beams of one prompt are adjacent in the batch, and every beam is steered by its prompt's map.
"""

from __future__ import annotations

import torch

from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import Edits


def beam_answer(
    subject: Subject,
    sample: Sample,
    edits: Edits | None = None,
    *,
    beams: int = 4,
    max_new_tokens: int = 64,
) -> str:
    """The best of ``beams`` answers by log-probability, each steered at every token.

    Raises CausalError for fewer than one beam, or a model without beam search.
    """
    if beams < 1:
        raise CausalError(f"{beams} beams: use at least one.")
    batch = subject.encode([sample], answer="", max_tokens=None, side="left")
    search = getattr(subject.model, "generate", None)
    if search is None:
        raise CausalError(f"{subject.name} has no beam search: leave --beams out.")
    with torch.no_grad(), subject.editing(edits or {}, batch.maps):
        out = search(
            **batch.inputs,
            num_beams=beams,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=subject.tokenizer.pad_token_id,
            suppress_tokens=list(subject.encoder.shown_ids) or None,
        )
    new = out[0, batch.inputs["input_ids"].shape[1] :]
    return str(subject.tokenizer.decode(new, skip_special_tokens=True)).strip()
