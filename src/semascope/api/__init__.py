"""semascope from Python: open a run, ask it, explain the answer, steer it.

Every object has a short ``repr``, and an HTML view if there is something to look at. They join the
run's model, dictionaries, evidence and atlas, each loaded when first needed. Imports go one way:
``run`` → ``chat``, ``feature``, ``steering`` → ``why`` → ``parts``.
"""

from semascope.api.chat import Chat
from semascope.api.feature import ExemplarView, Feature
from semascope.api.open import load_dictionary, open_run
from semascope.api.run import OpenRun
from semascope.api.steering import Steering, SteeringComparison
from semascope.api.why import Why

__all__ = [
    "Chat",
    "ExemplarView",
    "Feature",
    "OpenRun",
    "Steering",
    "SteeringComparison",
    "Why",
    "load_dictionary",
    "open_run",
]
