"""Routes that only read: the run, lists, search, features, pictures. None runs the model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Path, Query, Request, UploadFile
from fastapi.responses import FileResponse

from semascope.serve.explorer.protocol import Explorer
from semascope.serve.explorer.splitting import SplittingRecord
from semascope.serve.explorer.uploads import MAX_BYTES
from semascope.serve.schema.register import RegisterRecord
from semascope.serve.schema.requests import (
    ConceptQuery,
    ListQuery,
    NearAsk,
    SearchQuery,
    SplittingQuery,
)
from semascope.serve.schema.responses import (
    ConceptRecord,
    FeatureList,
    FeaturePage,
    MapRecord,
    SubjectInfo,
    Upload,
)
from semascope.serve.schema.tours import NearRecord, TourLine, TourRecord

router = APIRouter()
_TYPES = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def explorer(request: Request) -> Explorer:
    """The Explorer that the app was made with."""
    data: Explorer = request.app.state.data
    return data


Data = Annotated[Explorer, Depends(explorer)]


@router.get("/api/info", tags=["look"])
def info(data: Data) -> SubjectInfo:
    """The model, its dictionaries, and what can be done with them."""
    return data.info()


@router.get("/api/features", tags=["look"])
def features(data: Data, query: Annotated[ListQuery, Query()]) -> FeatureList:
    """One window of the sorted, filtered list of features."""
    return data.features(query)


@router.get("/api/search", tags=["look"])
def search(data: Data, query: Annotated[SearchQuery, Query()]) -> FeatureList:
    """Features by the meaning of their explanations, nearest first."""
    return data.search(query)


@router.get("/api/concept", tags=["look"])
def concept(data: Data, query: Annotated[ConceptQuery, Query()]) -> ConceptRecord:
    """The k features nearest in meaning to some words, with interventions ready to be sent."""
    return data.concept(query)


@router.get("/api/map", tags=["look"])
def feature_map(data: Data, dictionary: Annotated[str, Query(max_length=300)] = "") -> MapRecord:
    """Every feature of a dictionary as a point, in compact arrays."""
    return data.map(dictionary)


@router.get("/api/register", tags=["look"])
def register(data: Data) -> RegisterRecord:
    """Safety-relevant features, found by search, each with its measured effect."""
    return data.guides.register()


@router.get("/api/tours", tags=["look"])
def tours(data: Data) -> list[TourLine]:
    """The guided tours."""
    return data.guides.tours()


@router.get("/api/tours/{name}", tags=["look"])
def tour(data: Data, name: Annotated[str, Path(pattern=r"^[a-z-]{1,60}$")]) -> TourRecord:
    """One tour, with pictures of this workspace for its questions."""
    return data.guides.tour(name)


@router.post("/api/near", tags=["look"])
def near(data: Data, question: NearAsk) -> NearRecord:
    """How near some texts are in meaning to another, as a tour measures it."""
    return data.guides.near(question.text, question.others)


@router.get("/api/features/{feature_id:path}", tags=["look"])
def feature(data: Data, feature_id: str) -> FeaturePage:
    """All about one feature; its id is ``site/dictionary/index``."""
    return data.feature(feature_id)


@router.get("/api/splitting/{feature_id:path}", tags=["look"])
def splitting(
    data: Data, feature_id: str, query: Annotated[SplittingQuery, Query()]
) -> SplittingRecord:
    """A feature's parents in narrower dictionaries of its site, and its children in wider ones.

    The first question about a site takes longer: its dictionaries are compared.
    """
    return data.splitting(feature_id, query)


@router.get("/media/{digest}", tags=["look"], response_class=FileResponse)
def media(data: Data, digest: str) -> FileResponse:
    """A picture by the hash of its content."""
    path = data.media(digest)
    return FileResponse(
        path,
        media_type=_TYPES.get(path.suffix.lower(), "application/octet-stream"),
        headers={"cache-control": "private, max-age=31536000, immutable"},
    )


@router.post("/api/pictures", tags=["ask"], status_code=201)
def upload(data: Data, file: Annotated[UploadFile, File()]) -> Upload:
    """Upload a picture (PNG, JPEG, WebP, GIF or BMP) to ask about."""
    return data.store(file.file.read(MAX_BYTES + 1))
