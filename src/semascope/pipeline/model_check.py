"""The check of a model when a workspace first meets it, recorded in ``run.json``.

What is checked is ``subject.check``'s affair; here it is decided when, and what follows.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semascope.errors import SubjectError
from semascope.workspace import ModelCheck, versions

if TYPE_CHECKING:
    from semascope.pipeline.context import Run
    from semascope.subject.check import Outcome

log = logging.getLogger(__name__)
_CHECKED: dict[str, list[Outcome]] = {}
"""Outcomes by key, of this process: a model is not checked twice."""


def meet(run: Run) -> ModelCheck | None:
    """The workspace's check of its model, made now unless it is recorded already.

    None where the subject is not a model of ours to check.

    Raises:
        SubjectError: a check failed, and the user did not say ``--trust``.
    """
    from semascope.subject.model import Subject

    if not isinstance(run.subject, Subject):
        return None
    key, known = _key(run), run.workspace.record().model_check
    trust = run.options.train.trust or bool(known and known.trust)
    if known is not None and known.key == key:
        return known
    outcomes = outcomes_of(run.subject, key)
    refuse(run.options.train.subject, outcomes, trust=trust)
    return ModelCheck(key=key, outcomes=[asdict(one) for one in outcomes], trust=trust)


def outcomes_of(subject: Any, key: str = "") -> list[Outcome]:
    """Every check of a subject; made once for each ``key``."""
    from semascope.subject.check import check

    if key and key in _CHECKED:
        return _CHECKED[key]
    outcomes = check(subject)
    if key:
        _CHECKED[key] = outcomes
    return outcomes


def refuse(name: str, outcomes: list[Outcome], *, trust: bool) -> None:
    """SubjectError where a check failed; with ``trust`` a warning instead."""
    from semascope.subject.check import failures

    failed = failures(outcomes)
    if not failed:
        return
    more = f" ({len(failed) - 1} more checks fail.)" if len(failed) > 1 else ""
    sentence = f"{name} fails the check '{failed[0].name}': {failed[0].sentence}{more}"
    if not trust:
        raise SubjectError(
            f"{sentence} What is measured on it would be wrong. Every check: semascope model check "
            f"--subject {name}. To go on all the same: --trust."
        )
    log.warning("%s You go on all the same.", sentence)


def _key(run: Run) -> str:
    from semascope.pipeline.context import subject_stamp

    libraries = versions()
    made_with = " ".join(f"{name} {libraries.get(name, '')}" for name in ("torch", "transformers"))
    return f"{subject_stamp(run.options.train.subject)} {made_with}"
