"""The model check of a workspace: made when it first meets a model, and recorded.

Knows the record of a run and the checks; nothing of what a stage does.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semascope.config import digest
from semascope.errors import SubjectError
from semascope.workspace import RunRecord, versions

if TYPE_CHECKING:
    from semascope.subject import Subject

LOG = logging.getLogger(__name__)
_CHECKED: dict[str, list[dict[str, Any]]] = {}
"""By identity: in one process, a model is checked once."""


def identity(stamp: str) -> str:
    """What a check holds for: a model's weights and the versions of what runs it."""
    return digest(stamp, dict(versions()))


def vetted(record: RunRecord, subject: Subject, stamp: str, *, trust: bool) -> dict[str, Any]:
    """What the check of a model found, from the record where it holds one of this model.

    Raises:
        SubjectError: a check failed, and the model is not trusted all the same.
    """
    from semascope.subject.check import FAILED, check

    known, key = record.model_check, identity(stamp)
    if known.get("identity") != key:
        if key not in _CHECKED:
            _CHECKED[key] = [asdict(outcome) for outcome in check(subject)]
        known = {"identity": key, "checks": _CHECKED[key]}
    trusted = trust or bool(known.get("trusted"))
    failed = [outcome for outcome in known["checks"] if outcome["state"] == FAILED]
    if failed and not trusted:
        first = failed[0]
        raise SubjectError(
            f"{subject.name} fails the model check '{first['name']}': {first['sentence']} "
            f"All of it: semascope model check --subject {subject.name}. To go on all the same: "
            "--trust."
        )
    for outcome in failed:
        LOG.warning("%s fails the model check '%s'.", subject.name, outcome["name"])
    return {**known, "trusted": trusted}
