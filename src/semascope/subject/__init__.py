"""The model to be interpreted: loading, sites, hooks, forward passes, generation, token maps.

Does not depend on dictionaries, features or the workspace.
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
