"""The model under the microscope: load, sites, hooks, run, generate; where image tokens look.

Knows nothing of dictionaries, features or a run's folder.
"""

from semascope.subject.model import Subject
from semascope.subject.types import (
    Batch,
    Edit,
    EditContext,
    Edits,
    Generation,
    Kind,
    Role,
    TokenChoice,
    TokenMap,
    TokenSink,
)

__all__ = [
    "Batch",
    "Edit",
    "EditContext",
    "Edits",
    "Generation",
    "Kind",
    "Role",
    "Subject",
    "TokenChoice",
    "TokenMap",
    "TokenSink",
]
