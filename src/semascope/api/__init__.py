"""semascope from Python: open a run, ask it, look behind the answer, steer it.

The objects here are what notebooks and scripts hold. Each has a short ``repr`` and, where there is
something to look at, an HTML view. They do no work of their own: they join the run's model, its
dictionaries, its evidence and its atlas, each loaded when first needed.
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
