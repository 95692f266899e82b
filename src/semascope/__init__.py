"""Look inside large multimodal models.

    import semascope as ss

    run = ss.open("workspace/demo")
    chat = run.ask("What is in the picture?", picture="scene:3")
    chat.why()

Names are loaded when first used, so importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semascope.api.chat import Chat
    from semascope.api.feature import Feature
    from semascope.api.open import load_dictionary
    from semascope.api.open import open_run as open  # noqa: A004  # semascope.open, on purpose
    from semascope.api.run import OpenRun
    from semascope.api.why import Why
    from semascope.atlas.atlas import Atlas
    from semascope.causal.steering.interventions import Intervention, Where
    from semascope.corpus.open import open_corpus
    from semascope.errors import SemascopeError
    from semascope.evidence.store.evidence import Evidence
    from semascope.subject.model import Subject

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "Chat",
    "Evidence",
    "Feature",
    "Intervention",
    "OpenRun",
    "SemascopeError",
    "Subject",
    "Where",
    "Why",
    "__version__",
    "load_dictionary",
    "open",
    "open_corpus",
]

_HOMES = {
    "Atlas": "atlas.atlas:Atlas",
    "Chat": "api.chat:Chat",
    "Evidence": "evidence.store.evidence:Evidence",
    "Feature": "api.feature:Feature",
    "Intervention": "causal.steering.interventions:Intervention",
    "OpenRun": "api.run:OpenRun",
    "SemascopeError": "errors:SemascopeError",
    "Subject": "subject.model:Subject",
    "Where": "causal.steering.interventions:Where",
    "Why": "api.why:Why",
    "load_dictionary": "api.open:load_dictionary",
    "open": "api.open:open_run",
    "open_corpus": "corpus.open:open_corpus",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
