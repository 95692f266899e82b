"""What a person prints is short; what a notebook shows is HTML, escaped."""

from pathlib import Path

import numpy as np
import pytest

from semascope.causal.attribution.ablation import AblationResult
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.result import Attribution, SiteAttribution
from semascope.causal.search.goal import SearchResult, Verdict
from semascope.causal.steering.compare import Comparison
from semascope.causal.steering.interventions import Intervention
from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.metrics.quality import GroupQuality, Quality
from semascope.dictionary.training.loop import TrainingReport
from semascope.monitor.conversation import TokenTarget
from semascope.monitor.inspection import Inspection
from semascope.statistics import share
from semascope.subject.types import Generation, Kind, TokenMap
from semascope.workspace import RunRecord, StageRecord

KEY = "resid_post.1/main"


def token_map() -> TokenMap:
    kinds = np.array([Kind.SPECIAL, Kind.IMAGE, Kind.IMAGE, Kind.TEXT], np.int8)
    rects = np.full((4, 4), np.nan, np.float32)
    rects[1], rects[2] = (0, 0, 4, 8), (4, 0, 8, 8)
    image = np.array([-1, 0, 0, -1], np.int16)
    tokens = ("<s>", "", "", "<b>")
    return TokenMap(np.arange(4), tokens, kinds, np.zeros(4, np.int8), image, rects, ((8, 8),))


def attribution() -> Attribution:
    zeros = np.zeros((1, 4), np.float32)
    entries = np.zeros(2, np.int32), np.array([1, 3], np.int32), np.array([5, 6])
    scores = np.array([0.5, -1.0], np.float32)
    site = SiteAttribution(KEY, *entries, np.abs(scores), scores, zeros, zeros, zeros)
    return Attribution("logprob", np.array([-1.0], np.float32), (site,), (token_map(),))


def objects() -> list[object]:
    feature = FeatureShare(KEY, 5, 0.5, 0.5, 0.0, 1.0, 2)
    one = Intervention(features=((KEY, 5),))
    verdict = Verdict(share(8, 10), share(0, 20), None)
    group = GroupQuality(100, 0.2, 0.8, 1.0, 0.9, 0.95, 4.0, 0.1, (1, 2))
    coder = SparseCoder(CoderConfig(d_in=4, width=8, k=2))
    stages = {"train": StageRecord(done=True, seconds=3)}
    target = TokenTarget(1, 3)
    return [
        token_map(),
        attribution(),
        AblationResult((feature,), np.array([0.4], np.float32)),
        Comparison(Generation("a <cat>", (), 3), Generation("a dog", (), 3), (), (one,)),
        SearchResult((one,), "Mends 80%.", verdict, (verdict,), best=(one,)),
        Inspection(target, "logprob", -0.1, 0.9, (feature,), {}, {}, None),
        Quality(group, {}, {}),
        TrainingReport(coder, Path("run"), 10, 640, 1.0, {"fvu": 0.2}),
        RunRecord(subject="tiny", site="resid_post.1", stages=stages),
    ]


@pytest.mark.parametrize("shown", objects(), ids=lambda shown: type(shown).__name__)
def test_what_is_printed_is_short_and_what_is_shown_is_html(shown: object) -> None:
    """Without: a notebook prints pages of arrays and weights."""
    assert repr(shown).startswith(type(shown).__name__ + "(")
    assert len(repr(shown)) < 160
    page = shown._repr_html_()  # type: ignore[attr-defined]
    assert page.startswith("<") and "<cat>" not in page and "<b></span>" not in page
