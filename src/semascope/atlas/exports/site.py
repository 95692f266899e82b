"""A static folder of dashboards: opens from disk, lives on any web server, needs no script.

``index.html`` lists the features; each has a page with its words, figures, and exemplars whose
heat keeps its strength. Everything from the data is escaped. Knows records only.
"""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path

from semascope import heat
from semascope.atlas.atlas import Atlas
from semascope.atlas.exports.features import details, painted, strongest
from semascope.atlas.media import Media
from semascope.atlas.records import FeatureDetail, StoredExemplar
from semascope.files import whole
from semascope.html import data_url

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;
 color:#1c1c1e;background:#fff}
a{color:#0b57d0}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;
 border-bottom:1px solid #ddd}.row{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}
figcaption,.dim{color:#666;font-size:13px}.pic{position:relative;display:inline-block}
.pic .heat{position:absolute;inset:0;width:100%;height:100%;image-rendering:pixelated}
.text{white-space:pre-wrap;max-width:34rem}
img{display:block;width:160px;height:auto}
"""


def export_site(
    atlas: Atlas, media: Media, dictionary: str | int, folder: Path | str, *, exemplars: int = 8
) -> int:
    """Write a page for every feature with words, and the list; returns how many."""
    folder, about = Path(folder), atlas.dictionary(dictionary)
    lines = []
    for detail in details(atlas, about.id, explained_only=True):
        name = f"features/{detail.row.index}.html"
        with whole(folder / name) as path:
            path.write_text(_page(_feature(detail, exemplars), detail.row.label), "utf-8")
        _copy(detail, media, folder / "media", exemplars)
        lines.append(_line(detail, name))
    body = (
        f"<h1>{escape(about.key)}</h1><p class=dim>{escape(about.model)}: {len(lines)} of "
        f"{about.width} features with words</p><table><tr><th>feature<th>words<th>density"
        f"<th>figures</tr>{''.join(lines)}</table>"
    )
    with whole(folder / "index.html") as path:
        path.write_text(_page(body, about.key), "utf-8")
    return len(lines)


def _page(body: str, title: str) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f'<meta name=viewport content="width=device-width"><style>{_STYLE}</style>{body}</html>\n'
    )


def _figures(detail: FeatureDetail) -> str:
    parts = []
    for kind, score in sorted(detail.row.scores.items()):
        chance = "" if score.baseline is None else f" (chance {score.baseline:.2f})"
        parts.append(f"{escape(kind)} {score.value:.2f}{chance}")
    return ", ".join(parts)


def _line(detail: FeatureDetail, name: str) -> str:
    row = detail.row
    return (
        f'<tr><td><a href="{name}">{row.index}</a><td>{escape(row.label or row.description)}'
        f"<td>{row.density:.3%}<td>{_figures(detail)}</tr>"
    )


def _feature(detail: FeatureDetail, exemplars: int) -> str:
    row = detail.row
    shown = "".join(_exemplar(e, row.max) for e in detail.of("top")[:exemplars])
    silent = "".join(_exemplar(e, row.max) for e in detail.of("silent")[:exemplars])
    return (
        f'<p><a href="../index.html">all features</a></p><h1>{escape(row.label or row.id)}</h1>'
        f"<p>{escape(row.description)}</p><p class=dim>{escape(row.id)} · {escape(row.category)} · "
        f"{escape(row.author)} · fires on {row.density:.3%} of tokens · {_figures(detail)}</p>"
        f"<h2>Where it fires most</h2><div class=row>{shown}</div>"
        f"<h2>Where it is silent and its neighbours fire</h2><div class=row>{silent}</div>"
    )


def _exemplar(exemplar: StoredExemplar, maximum: float) -> str:
    caption = f"<figcaption>{exemplar.peak:.2f}</figcaption>" if exemplar.peak else ""
    if exemplar.sample.media:
        return f"<figure>{_picture(exemplar, maximum)}{caption}</figure>"
    return f"<figure><div class=text>{_text(exemplar, maximum)}</div>{caption}</figure>"


def _picture(exemplar: StoredExemplar, maximum: float) -> str:
    which = strongest(exemplar)
    digest = exemplar.sample.media[which]
    layer = heat.overlay(painted(exemplar, which, exemplar.sample.sizes[which]), top=maximum)
    return (
        f'<span class=pic><img src="../media/{digest}.png" alt="">'
        f'<img class=heat src="{data_url(layer)}" alt=""></span>'
    )


def _text(exemplar: StoredExemplar, maximum: float) -> str:
    out = []
    for token, value in zip(exemplar.sample.tokens, exemplar.activations, strict=True):
        if value > 0 and maximum > 0:
            ground = f"background:{heat.css(float(value), maximum)}"
            out.append(f'<span style="{ground}" title="{value:.3f}">{escape(token)}</span>')
        else:
            out.append(escape(token))
    return "".join(out)


def _copy(detail: FeatureDetail, media: Media, folder: Path, exemplars: int) -> None:
    for role in ("top", "silent"):
        for exemplar in detail.of(role)[:exemplars]:
            which = strongest(exemplar)
            for digest in exemplar.sample.media[which : which + 1]:
                target = folder / f"{digest}.png"
                if not target.exists():
                    with whole(target) as path:
                        shutil.copyfile(media.path(digest), path)
