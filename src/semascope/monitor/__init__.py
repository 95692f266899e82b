"""Asking about one conversation: what is unexpected in it, whether it matters, what mends it.

Stands on causal and atlas; knows no page and no command line.
"""

from semascope.monitor.lint import Cluster, Ordinary, cluster, lint

__all__ = ["Cluster", "Ordinary", "cluster", "lint"]
