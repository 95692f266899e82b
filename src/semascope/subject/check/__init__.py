"""Tests in seconds whether a model behaves as semascope relies on, in this installation.

``check`` runs every check of ``CHECKS`` on a subject; each is a function that returns a
``CheckOutcome``. Errors of the model's own code are outcomes too.
"""

from semascope.subject.check.checks import CHECKS, check, failures
from semascope.subject.check.outcome import FAILED, NOT_APPLICABLE, OK, CheckOutcome

__all__ = ["CHECKS", "FAILED", "NOT_APPLICABLE", "OK", "CheckOutcome", "check", "failures"]
