"""Names of concepts from an LMM, asked for beside the model's queue, never within it.

Another's server may take a minute to answer; the thread that owns the model waits for nobody. So
each question has a thread of its own, told of by a future: ``worker`` keeps the stream open until
it is done. At most ``MOST`` at once; who comes then keeps the words that need no server. Knows the
namer and events; no HTTP, no tensor.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from semascope.errors import SemascopeError
from semascope.serve.queue.jobs import Later
from semascope.serve.schema.events import Emit, NamedRecord

if TYPE_CHECKING:
    from semascope.monitor.clusters import Cluster
    from semascope.monitor.name_clusters import ClusterName, ClusterNamer
    from semascope.workspace import Workspace

log = logging.getLogger(__name__)
MOST = 8
BUSY = "Others are having their concepts named: ask again for names."


class BackgroundNaming:
    """Has concepts named in the background."""

    def __init__(self, namer: ClusterNamer, most: int = MOST) -> None:
        self.namer = namer
        self._free = threading.BoundedSemaphore(most)

    def begin(self, groups: Sequence[Cluster], emit: Emit) -> Later:
        """Tell a name, or why there is none, for each group; the future is done after the last."""
        done: Later = Future()
        if not self._free.acquire(blocking=False):
            self._rest(range(len(groups)), BUSY, emit)
            done.set_result(None)
            return done

        def work() -> None:
            try:
                self._name(groups, emit)
            finally:
                self._free.release()
                done.set_result(None)

        threading.Thread(target=work, name="semascope-naming", daemon=True).start()
        return done

    def _name(self, groups: Sequence[Cluster], emit: Emit) -> None:
        left = set(range(len(groups)))

        def told(name: ClusterName) -> bool:
            left.discard(name.cluster)
            return emit(
                NamedRecord(
                    cluster=name.cluster,
                    label=name.label,
                    coherence=name.coherence,
                    author=self.namer.author,
                    note=name.note,
                )
            )

        try:
            self.namer.name([group.descriptions for group in groups], told)
        except SemascopeError as error:
            log.warning("Concepts keep the words they have: %s", error)
            self._rest(sorted(left), str(error), emit)
        except Exception as error:  # a name is never worth a broken answer
            log.exception("Concepts could not be named")
            why = f"Naming stopped with {type(error).__name__}; the server's log has the details."
            self._rest(sorted(left), why, emit)

    def _rest(self, numbers: Sequence[int], why: str, emit: Emit) -> None:
        for number in numbers:
            if emit(NamedRecord(cluster=number, author=self.namer.author, note=why[:400])):
                return


def namer_at(workspace: Workspace, base_url: str, model: str, most: int = 0) -> ClusterNamer:
    """Who names concepts: a model at an address, its replies kept in the workspace.

    Somebody waits at a page, so it is given up sooner than where a whole run is explained.
    """
    from semascope.explain.llm.async_map import Backoff
    from semascope.explain.llm.client import LMM
    from semascope.explain.llm.reply_cache import ReplyCache
    from semascope.monitor.name_clusters import ClusterNamer

    kept = workspace.root / "explanations" / "replies.db"
    lmm = LMM(
        base_url=base_url,
        model=model,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        concurrency=4,
        timeout=30.0,
        max_tokens=200,
        cache=ReplyCache(kept if workspace.writable else ":memory:"),
        backoff=Backoff(longest=5.0, attempts=3),
    )
    return ClusterNamer(lmm, most=most)
