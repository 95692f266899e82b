"""Interventions as data: what JSON says is what is done, and nonsense is refused in words."""

import json

import pytest
from pydantic import ValidationError

from semascope.causal import Intervention, Region, Where, dump, load, parse, save
from semascope.errors import CausalError

FEATURE = (("resid_post.1/main", 3),)


def test_json_gives_back_the_same_interventions(tmp_path):
    """A saved fix that loads as something else would mend another bug than the one it was for."""
    many = (
        Intervention(features=FEATURE, how="scale", strength=2.5),
        Intervention(
            features=(*FEATURE, ("mlp_out.2/neurons", 7)),
            where=Where(roles=("user",), region=Region(left=0, top=0, right=4, bottom=9)),
            how="ablate",
            name="no flags",
        ),
    )
    assert parse(json.dumps(dump(many))) == many
    assert parse({"interventions": dump(many)}) == many
    save(many, tmp_path / "fix.json")
    assert load(tmp_path / "fix.json") == many
    assert [p.name for p in tmp_path.iterdir()] == ["fix.json"]


def test_one_object_is_a_list_of_one():
    assert parse('{"features": [["resid_post.1/main", 3]]}') == (Intervention(features=FEATURE),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{", "not JSON"),
        ('[{"features": []}]', "features"),
        ('[{"features": [["a/b", -1]]}]', "negative"),
        ('[{"features": [["a/b", 1], ["a/b", 1]]}]', "twice"),
        ('[{"features": [["a/b", 1]], "how": "kick"}]', "how"),
        ('[{"features": [["a/b", 1]], "strength": 1e999}]', "strength"),
        ('[{"features": [["a/b", 1]], "strenght": 1}]', "strenght"),
    ],
)
def test_bad_json_is_refused_by_field(text, says):
    with pytest.raises(CausalError, match=says):
        parse(text)


@pytest.mark.parametrize("box", [(5, 0, 5, 9), (5, 0, 4, 9), (-1, 0, 4, 9)])
def test_a_region_has_an_area_and_lies_in_the_picture(box):
    left, top, right, bottom = box
    with pytest.raises(ValidationError):
        Region(left=left, top=top, right=right, bottom=bottom)


@pytest.mark.parametrize(
    ("how", "strength", "identity"),
    [
        ("clamp", 0.0, True),
        ("add", 0.0, True),
        ("ablate", 0.0, True),
        ("project", 0.0, True),
        ("scale", 1.0, True),
        ("scale", 0.0, False),
        ("ablate", 1.0, False),
    ],
)
def test_which_doses_change_nothing(how, strength, identity):
    """Dose 0 is 'off' for every verb but scale, whose 'off' is 1."""
    assert Intervention(features=FEATURE, how=how, strength=strength).is_identity is identity


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(CausalError, match="cannot be read"):
        load(tmp_path / "none.json")
