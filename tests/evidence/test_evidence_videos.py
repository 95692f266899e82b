"""A corpus with videos, from files to pages: the frame that a feature fires on is found."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evidence_fakes import ListCorpus
from PIL import Image

from semascope.atlas import Atlas, exports
from semascope.atlas.exports.features import strongest
from semascope.atlas.media import Media
from semascope.corpus import Sample, Turn, Video, open_corpus
from semascope.dictionary.types import Codes
from semascope.evidence import Evidence, gather
from semascope.evidence.gathering.hashing import content_hash
from semascope.evidence.gathering.options import EvidenceOptions
from semascope.evidence.store.publish import publish
from semascope.evidence.video_frames import glimpse, told, worth_showing
from semascope.explain.crops import firing_picture, overlay
from semascope.explain.llm.messages import sample_parts
from semascope.serve.explorer import to_records
from semascope.subject import Subject
from semascope.subject.heatmap import heat
from semascope.subject.testing import tiny
from semascope.subject.types import Kind, looking_at

SITE = "resid_pre.0"
SIZE = (96, 64)
BOX = (60, 36, 84, 60)
"""Where the red thing is, in whichever frame it is shown."""
FRAMES = 5


class OneFeature:
    """Fires on what the box looks like to the subject, and on nothing else that it reads."""

    name, site, width = "main", SITE, 2

    def __init__(self, subject: Subject) -> None:
        batch = subject.encode([sample(2), sample(None)], max_tokens=None)
        x, plain = subject.run(batch, [SITE])[SITE].float()
        token = int((x - plain).norm(dim=-1).argmax())
        self.d_in = x.shape[-1]
        self.direction = torch.nn.functional.normalize(x[token] - plain[token], dim=0)
        self.bias = float((plain @ self.direction).max())

    def encode(self, x: torch.Tensor) -> Codes:
        values = torch.relu(x @ self.direction - self.bias)[:, None]
        return Codes(values, torch.ones_like(values, dtype=torch.long))

    def directions(self, ids: torch.Tensor) -> torch.Tensor:
        return self.direction.expand(len(ids), -1)


def frame(number: int, painted: bool) -> Image.Image:
    pixels = np.full((SIZE[1], SIZE[0], 3), 120 + number, np.uint8)
    image = Image.fromarray(pixels)
    if painted:
        image.paste((250, 10, 10), BOX)
    return image


def sample(painted: int | None, name: str = "v", images: int = 0) -> Sample:
    """A video with the red thing in one frame, grey pictures before it."""
    shown = tuple(frame(n, n == painted) for n in range(FRAMES))
    video = Video(shown, tuple(n * 0.5 for n in range(FRAMES)))
    grey = tuple(frame(n, False) for n in range(images))
    return Sample(name, turns=(Turn("user", "What?", images, 1),), images=grey, videos=(video,))


def gathered(folder: Path, subject: Subject, rows: list[Sample]) -> Evidence:
    gather(
        subject, ListCorpus(rows), [OneFeature(subject)], folder / "e", media=folder / "m",
        options=EvidenceOptions(batch_size=4, outlier=0.0, exclude=(Kind.PAD, Kind.NEWLINE)),
    )  # fmt: skip
    return Evidence.open(folder / "e", "main")


@pytest.mark.parametrize("family", ["qwen2_vl", "llava_onevision", "llava"])
def test_the_frame_and_the_place_where_a_feature_fires(family: str, tmp_path: Path) -> None:
    """Frames merged by two, one by one, and shown as pictures: always the one that was painted,
    heat inside the box, the picture in the media folder that very frame."""
    painted = {f"p{n}": n for n in (0, 2, 4)}
    rows = [sample(n, name) for name, n in painted.items()] + [sample(None, "none")]
    evidence = gathered(tmp_path, tiny(family), rows)
    record = evidence.feature(1)
    assert {e.shown.id for e in record.top} == set(painted)
    for exemplar in record.top:
        shown, when = exemplar.shown, painted[exemplar.shown.id]
        assert len(shown.media) == FRAMES and shown.moments[when] == (0, when, when * 0.5)
        assert firing_picture(exemplar) == when
        drawn = heat(shown, exemplar.activations, image=when)
        y, x = np.unravel_index(int(drawn.argmax()), drawn.shape)
        assert drawn.max() == pytest.approx(exemplar.peak)
        assert BOX[0] - 16 <= x <= BOX[2] + 16 and BOX[1] - 16 <= y <= BOX[3] + 16
        kept = Media(tmp_path / "m").open(shown.media[when])
        assert np.array_equal(np.asarray(kept), np.asarray(frame(when, True)))
        assert when in worth_showing(shown, exemplar.activations)
        assert told(shown, when) == f"frame {when + 1} of 5, {when * 0.5:.3g} s"
        assert overlay(kept, exemplar, when).size == SIZE


def test_merged_frames_are_kept_as_such(tmp_path: Path) -> None:
    evidence = gathered(tmp_path, tiny("qwen2_vl"), [sample(2, "a", images=1)])
    (exemplar,) = evidence.feature(1).top
    shown = exemplar.shown
    assert shown.moments[0] is None and set(shown.image.tolist()) == {-1, 0, 1, 3, 5}
    assert (looking_at(shown, 3) == looking_at(shown, 4)).all(), "frames 2 and 3 are one step"
    assert worth_showing(shown, exemplar.activations) == [0, 3, 4]
    assert worth_showing(shown, np.zeros(len(shown.image))) == [0, 3], "the middle one of a video"
    assert glimpse(shown) == [0, 2, 3, 5]
    assert len(sample_parts(shown, Media(tmp_path / "m").open)) == 4


def test_from_animated_files_to_atlas_exports_and_page(tmp_path: Path) -> None:
    rows = []
    for n in (0, 2, 4):
        own = sample(n).videos[0].frames
        options = {"save_all": True, "append_images": own[1:], "duration": 500, "lossless": True}
        own[0].save(tmp_path / f"{n}.webp", **options)
        rows.append({"id": f"v{n}", "video": f"{n}.webp", "conversations": [
            {"from": "human", "value": "<video>\nWhat?"}]})  # fmt: skip
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = open_corpus(tmp_path / "data.jsonl", images=True)
    evidence = gathered(tmp_path, tiny("qwen2_vl"), [s for _, s in corpus.read()])
    page = to_records.exemplar(evidence.feature(1).top[0])
    which = int(page.sample[1])
    assert f"frame {which + 1} of 5" in page.caption and len(page.pictures) <= 4
    assert max(max(p.values) for p in page.pictures) == pytest.approx(page.peak, abs=1e-3)
    media = Media(tmp_path / "m")
    with Atlas.open(tmp_path / "atlas.db") as atlas:
        publish(evidence, atlas, exemplars=None)
        detail = atlas.feature(f"{SITE}/main", 1)
        stored, mine = detail.of("top")[0].sample, evidence.feature(1).top[0].shown
        assert stored.moments == mine.moments and (stored.spans == mine.spans).all()
        for found, own in zip(detail.of("top"), evidence.feature(1).top, strict=True):
            assert strongest(found) == firing_picture(own)
        exports.export_neuronpedia(atlas, media, f"{SITE}/main", tmp_path / "n")
    (batch,) = (tmp_path / "n" / "activations").iterdir()
    for line in map(json.loads, gzip.decompress(batch.read_bytes()).splitlines()):
        when = int(line["dataIndex"][1])
        hottest = max(line["images"], key=lambda i: max((h["value"] for h in i["heat"]), default=0))
        assert hottest["frame"] in (when, when + 1) and hottest["seconds"] is not None


def test_no_row_is_lost_for_its_length(tmp_path: Path) -> None:
    """LLaVA-OneVision holds all videos of a batch in one tensor."""
    short = sample(2, "short")
    cut = Video(short.videos[0].frames[:3], short.videos[0].times[:3])
    rows = [sample(2, "long"), replace(short, videos=(cut,))]
    evidence = gathered(tmp_path, tiny("llava_onevision"), rows)
    assert {e.shown.id for e in evidence.feature(1).top} == {"long", "short"}


def test_what_a_video_is_called() -> None:
    """Frames, their order and their times make the name; samples without videos keep theirs."""
    names = [content_hash(s) for s in (
        sample(0), sample(1), sample(None), replace(sample(0), videos=(Video(
            sample(0).videos[0].frames, ()),)), replace(sample(0), videos=(), images=sample(
                0).videos[0].frames, turns=(Turn("user", "What?", 5),)))]  # fmt: skip
    assert len({n.content for n in names}) == len({n.picture for n in names}) == 5
    assert content_hash(sample(0, "other id")) == names[0]
    red = Image.new("RGB", (3, 2), "red")
    old = Sample("b", turns=(Turn("user", "hi", 1), Turn("assistant", "yo")), images=(red,))
    assert tuple(content_hash(old)) == (10419145652359116464, 16596130847676451629)
