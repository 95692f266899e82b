"""The HTTP interface as OpenAPI, with the events of streams: the page's types come from it.

``python -m semascope.serve.schema.openapi > openapi.json``. It is ``/openapi.json`` plus the schema
``Event``, because OpenAPI has no place for the events of a ``text/event-stream``. It loads no
model and opens no workspace.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from semascope import __version__
from semascope.errors import ServeError
from semascope.serve.app import ROUTERS
from semascope.serve.schema.events import Event

_REF = "#/components/schemas/{model}"


def schema() -> dict[str, Any]:
    """The OpenAPI document of every route, with ``Event`` among its schemas.

    Raises ServeError where an event and another record share a name but not their fields.
    """
    app = FastAPI(title="semascope", version=__version__)
    for router in ROUTERS:
        app.include_router(router)
    document = app.openapi()
    event = TypeAdapter(Event).json_schema(mode="serialization", ref_template=_REF)
    schemas = document["components"]["schemas"]
    for name, found in {**event.pop("$defs"), "Event": event}.items():
        known = schemas.setdefault(name, found)
        if set(known.get("properties", ())) != set(found.get("properties", ())):
            raise ServeError(f"Two records of the HTTP interface are called {name}: rename one.")
    return document


def main() -> None:
    """Print the document."""
    print(json.dumps(schema(), indent=1))


if __name__ == "__main__":
    main()
