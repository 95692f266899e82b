"""Questions about one conversation: which features are behind a token, and what do they do?

Other names are in their modules: ``base_rates``, ``name_clusters``, ``safety_register``, ``tours``,
``try_out``.
"""

from semascope.monitor.clusters import BaseRates, Cluster, cluster
from semascope.monitor.conversation import Conversation, read_tokens
from semascope.monitor.inspection import Effect, Inspection, effects, inspect

__all__ = [
    "BaseRates",
    "Cluster",
    "Conversation",
    "Effect",
    "Inspection",
    "cluster",
    "effects",
    "inspect",
    "read_tokens",
]
