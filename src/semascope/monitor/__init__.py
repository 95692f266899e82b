"""Asking about one conversation: what is unexpected in it, whether it matters, what mends it.

Stands on causal and atlas; knows no page and no command line. Whoever needs more than these names
takes it from the module that has it: ``conversation``, ``inspecting``, ``ordinary``, ``beside``,
``live``, ``register``, ``tours``.
"""

from semascope.monitor.clusters import BaseRates, Cluster, cluster, lint
from semascope.monitor.conversation import Conversation, read_tokens
from semascope.monitor.inspection import Effect, Inspection, concepts, effects, inspect

__all__ = [
    "BaseRates",
    "Cluster",
    "Conversation",
    "Effect",
    "Inspection",
    "cluster",
    "concepts",
    "effects",
    "inspect",
    "lint",
    "read_tokens",
]
