"""Names of concepts from an LMM, asked for outside the model's queue.

A remote server may take a minute to answer, and the thread that owns the model must not wait for
it. So each request runs in a thread of its own and returns a future; ``worker`` keeps the stream
open until it is done. At most ``MOST`` run at once; further requests get no names.
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
from semascope.serve.schema.events import Emit
from semascope.serve.schema.explanations import NamedRecord

if TYPE_CHECKING:
    from semascope.monitor.clusters import Cluster
    from semascope.monitor.name_clusters import ClusterName, ClusterNamer
    from semascope.workspace import Workspace

log = logging.getLogger(__name__)
MOST = 8
BUSY = "The server is naming other people's concepts: ask again for names."


class BackgroundNaming:
    """Has concepts named in the background."""

    def __init__(self, namer: ClusterNamer, most: int = MOST) -> None:
        self.namer = namer
        self._free = threading.BoundedSemaphore(most)

    def begin(self, groups: Sequence[Cluster], emit: Emit) -> Later:
        """Emit a name, or why there is none, for each group; the future is done after the last."""
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

        def hear(name: ClusterName) -> bool:
            left.discard(name.cluster)
            return emit(NamedRecord.of(name, kind="named", author=self.namer.author))

        try:
            self.namer.name([group.descriptions for group in groups], hear)
        except SemascopeError as error:
            log.warning("Concepts get no names from the LMM: %s", error)
            self._rest(sorted(left), str(error), emit)
        except Exception as error:  # a missing name must not break an answer
            log.exception("Concepts could not be named")
            why = f"Naming stopped with {type(error).__name__}; the server's log has the details."
            self._rest(sorted(left), why, emit)

    def _rest(self, numbers: Sequence[int], why: str, emit: Emit) -> None:
        for number in numbers:
            if emit(NamedRecord(cluster=number, author=self.namer.author, note=why[:400])):
                return


def namer_at(workspace: Workspace, base_url: str, model: str, most: int = 0) -> ClusterNamer:
    """A namer that asks the model at an address; its replies are kept in the workspace.

    It gives up sooner than an explainer does, since somebody waits for the page.
    """
    from semascope.explain.llm.async_map import Backoff
    from semascope.explain.llm.client import LMM
    from semascope.explain.llm.reply_cache import ReplyCache
    from semascope.monitor.name_clusters import ClusterNamer

    replies = workspace.root / "explanations" / "replies.db"
    lmm = LMM(
        base_url=base_url,
        model=model,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        concurrency=4,
        timeout=30.0,
        max_tokens=200,
        cache=ReplyCache(replies if workspace.writable else ":memory:"),
        backoff=Backoff(longest=5.0, attempts=3),
    )
    return ClusterNamer(lmm, most=most)
