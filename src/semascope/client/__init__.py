"""The HTTP interface as typed Python: ``Client("http://127.0.0.1:8000").info()``.

Every route of ``/api`` is one method, with the server's own records on both sides, so that an
invalid request fails before it is sent. Requests use the standard library only.
"""

from semascope.client.monitor import ROUTES, Client, Route
from semascope.client.transport import Answer, Transport, over_http

__all__ = ["ROUTES", "Answer", "Client", "Route", "Transport", "over_http"]
