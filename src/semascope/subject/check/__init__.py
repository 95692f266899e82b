"""Does a model do, in this installation, what everything here relies on? Seconds, by trial.

``check`` runs every check of ``CHECKS`` on a subject; each is a small function that returns an
``CheckOutcome``. Whatever a model's own code raises is an outcome too. Knows subjects; nothing of
workspaces, dictionaries or the command line.
"""

from semascope.subject.check.checks import CHECKS, check, failures
from semascope.subject.check.outcome import FAILED, NOT_APPLICABLE, OK, CheckOutcome

__all__ = ["CHECKS", "FAILED", "NOT_APPLICABLE", "OK", "CheckOutcome", "check", "failures"]
