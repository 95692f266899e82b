"""The verb's own part: what is said of an LMM that is wrong, away or not wholly named."""

from __future__ import annotations

from pathlib import Path

import pytest

from semascope.cli.commands.serve import Serve
from semascope.errors import ExplainError
from semascope.explain.llm.fake_server import FakeLMM


def test_an_lmm_is_named_by_address_and_model(tmp_path: Path) -> None:
    assert Serve(workspace=tmp_path)._naming() is None
    for url, model in (("http://127.0.0.1:9/v1", ""), ("", "fake")):
        with pytest.raises(ExplainError, match="give both"):
            Serve(workspace=tmp_path, base_url=url, model=model)._naming()
    with FakeLMM() as server:
        with pytest.raises(ExplainError, match="has no model 'other'"):
            Serve(workspace=tmp_path, base_url=server.base_url, model="other")._naming()
        found = Serve(
            workspace=tmp_path, base_url=server.base_url, model="fake", most_names=7
        )._naming()
    assert found is not None and found.namer.author == "lmm:fake" and found.namer.most == 7


def test_one_that_is_away_does_not_keep_the_page_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Serve(workspace=tmp_path, base_url="http://127.0.0.1:9/v1", model="fake")._naming()
    said = capsys.readouterr().err
    assert found is not None and "No LMM server answers" in said and "the words they share" in said
