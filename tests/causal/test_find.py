"""Cases, measured steering, and finding features, on a subject whose answers are known."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.causal import Intervention, Where
from semascope.causal.search.candidates import CandidateFeature, from_words
from semascope.causal.search.cases import Case, answers, margins, meets, split, spread
from semascope.causal.search.find import find
from semascope.causal.search.goal import Goal, SearchOptions
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.presence import presence_cases
from semascope.causal.search.trials import _some_of_each
from semascope.causal.steering.controls import matched_controls
from semascope.causal.steering.measure import side_effects
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Question, Sample, SceneTruth, Turn
from semascope.errors import CausalError
from semascope.evaluate.hallucination import (
    Arm,
    Examination,
    blame,
    examine,
    share_fixed,
)
from semascope.evaluate.pope_hallusion import read_hallusion, read_pope
from semascope.evaluate.reconstruction import reconstruction_only
from semascope.statistics import mean, share
from semascope.subject.types import Kind

KEY = "resid_post.2/main"


@pytest.fixture(scope="module")
def steerable(subject):
    from semascope.dictionary.coder import SparseCoder
    from semascope.dictionary.config import CoderConfig

    coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=64, k=6), site="resid_post.2")
    ones = np.ones(64, dtype=np.float32)
    statistics = {KEY: {"max": 20 * ones, "density": 0.1 * ones}}
    return SteerableModel.of(subject, [coder], statistics)


@pytest.fixture(scope="module")
def planted(subject, steerable):
    """A feature and the word that it makes the last layer say."""
    rows = steerable.dictionaries[KEY].directions(torch.arange(64))
    said = (rows @ subject.unembedding().T).argmax(1).tolist()
    for feature, token in enumerate(said):
        word = subject.encoder.text(token)
        if word.strip().isalpha() and word.isascii():
            return feature, word
    raise AssertionError("no feature of the tiny subject says a word")


def asked(number, words="is there a cat in picture"):
    return Sample(id=f"case-{number}", turns=(Turn("user", f"{words} {number}"),))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted", "met"),
    [
        ("Yes, there is.", "yes", "no", True),
        ("No, yes is wrong", "yes", "no", False),
        ("There are two red cats.", "red cat", "", True),
        ("a category", "cat", "", False),
        ("a cat and a dog", "cat", "dog", False),
        ("anything", "", "", True),
    ],
)
def test_whether_an_answer_meets_a_case(text, wanted, unwanted, met):
    assert meets(text, Case(asked(0), wanted, unwanted)) is met


def test_one_picture_never_falls_in_both_halves():
    cases = [Case(asked(n // 2), "yes", "no", kind=str(n)) for n in range(40)]
    search, held = split(cases)
    assert {c.sample.id for c in search}.isdisjoint({c.sample.id for c in held})
    assert len(search) + len(held) == 40
    with pytest.raises(CausalError, match="at least eight"):
        split(cases[:1])


def test_margins_are_mean_log_probabilities_of_the_answers(subject):
    """Prompts and answers of different lengths share a batch without disturbing each other."""
    cases = [Case(asked(1), "yes", "no"), Case(asked(2, "say"), "a red cat", "no")]
    found = margins(subject, cases)
    for case, margin in zip(cases, found, strict=True):
        sides = []
        for text in (case.wanted, case.unwanted):
            ids = subject.tokenizer.encode(text, add_special_tokens=False)
            batch = subject.encode([case.sample], answer=text)
            assert batch.inputs["input_ids"][0, -len(ids) :].tolist() == ids
            logp = subject.logits(batch)[0, -len(ids) - 1 : -1].log_softmax(-1)
            sides.append(float(logp[range(len(ids)), ids].mean()))
        assert margin == pytest.approx(sides[0] - sides[1], abs=1e-4)


def says(text, case):
    return case.wanted.strip() in text


def test_a_planted_feature_is_found_and_judged_on_cases_that_did_not_choose_it(steerable, planted):
    feature, word = planted
    wish = Goal(
        cases=[Case(asked(n), word) for n in range(10)],
        protect=[Case(asked(n, "say"), "") for n in range(4)],
        unrelated=[(asked(77, "say"), (7, 9, 11))],
    )
    options = SearchOptions(
        candidates=8, doses=(2.0, 6.0), price=0.0, max_kl=1e9, controls=2, tokens=3, trial_cases=4
    )
    told = find(steerable, wish, options, judge=says)
    assert told.found, told.reason
    assert len(told.interventions) == 1
    assert told.held_out.fixed.value == 1.0
    assert max(c.fixed.value for c in told.controls) < 0.5
    assert len(told.controls) == 2
    assert told.held_out.effects.kl.value > 0
    assert json.dumps(told.as_json())
    assert feature in {t.candidate.index for t in told.trials}


def test_features_that_search_puts_first_are_tried_as_a_set(steerable, planted):
    """Eight together, though no attribution was asked to propose them."""
    feature, word = planted
    others = [f for f in range(64) if f != feature][:7]
    wish = Goal(
        cases=[Case(asked(n), word) for n in range(8)],
        features=[(KEY, feature), *((KEY, other) for other in others)],
    )
    options = SearchOptions(
        candidates=8, doses=(2.0, 6.0), controls=0, tokens=3, trial_cases=4, groups=(8,)
    )
    told = find(steerable, wish, options, judge=says)
    sizes = {len(t.intervention.features) for t in told.trials}
    assert 8 in sizes


def test_a_sure_answer_may_lose_some_of_its_margin(steerable, planted):
    """Harm begins where a protected answer comes into doubt."""
    from semascope.causal.search.trials import SAFE, CachedRuns, CandidateTrials

    class Told(CachedRuns):
        def margins(self, cases, interventions):
            return [0.5, 6.0, 6.0] if interventions else [2.0, 9.0, 0.0]

    cases = [Case(asked(n), "yes", "no") for n in range(3)]
    bench = CandidateTrials(Told(steerable, Ledger()), SearchOptions(), (), [], cases, ())
    one = Intervention(features=((KEY, planted[0]),))
    assert bench._harm(one) == pytest.approx((SAFE - 0.5) / 3)


def test_a_margin_that_stands_fast_wins_no_more(steerable, planted):
    """Else the strongest dose is the best one, and flips all that was right."""
    from semascope.causal.search.trials import CachedRuns, CandidateTrials

    class Told(CachedRuns):
        def margins(self, cases, interventions):
            return [4.0, 0.8, 9.0] if interventions else [-2.0, 0.5, 3.0]

    cases = [Case(asked(n), "yes", "no") for n in range(3)]
    bench = CandidateTrials(Told(steerable, Ledger()), SearchOptions(), (), cases, [], ())
    one = Intervention(features=((KEY, planted[0]),))
    assert bench._gain(cases, one) == pytest.approx((3.0 + 0.3 + 0.0) / 3)


def test_doses_below_those_given_are_tried_while_they_are_worth_more(steerable, planted):
    """Both wrong answers stand fast from a tenth on, and right ones come into doubt from there."""
    from semascope.causal.search.trials import CachedRuns, CandidateTrials

    class Told(CachedRuns):
        def margins(self, cases, interventions):
            dose = interventions[0].strength if interventions else 0.0
            sign, base = (1, -1.0) if cases is failing else (-1, 3.0)
            return [base + sign * 20 * dose] * len(cases)

    failing = [Case(asked(n), "no", "yes") for n in range(2)]
    right = [Case(asked(n), "yes", "no") for n in range(2, 5)]
    options = SearchOptions(doses=(1.0, 2.0))
    bench = CandidateTrials(Told(steerable, Ledger()), options, (Where(),), failing, right, ())
    trial = bench._dosed([CandidateFeature(KEY, planted[0], "up", "search", 1.0, Where())])
    assert trial.intervention.strength == 0.125
    assert (trial.gain, trial.harm) == pytest.approx((2.0, 0.5))


def test_a_wrong_yes_has_nothing_to_lose(steerable, planted):
    """And what is wished to be said has, however unlikely it is."""
    from semascope.causal.search.trials import CachedRuns, CandidateTrials

    class Told(CachedRuns):
        def margins(self, cases, interventions):
            return [-4.0] * 2 if interventions else [-1.0] * 2

    one = Intervention(features=((KEY, planted[0]),))
    for unwanted, harm in (("no", 0.0), ("", 3.0)):
        cases = [Case(asked(n), "yes", unwanted) for n in range(2)]
        bench = CandidateTrials(Told(steerable, Ledger()), SearchOptions(), (), [], cases, ())
        assert bench._harm(one) == pytest.approx(harm)


def test_a_set_that_breaks_too_much_is_tried_softer_and_its_dose_tuned(planted):
    """Ten wrong answers are mended from doses of .1 to .4 on, ten right ones break from .3 on."""
    from semascope.causal.search.feature_sets import FeatureSetSearch
    from semascope.causal.search.goal import CandidateTrial

    class Told:
        def met(self, cases, chosen, judge, tokens):
            dose = chosen[0].strength if chosen else 0.0
            if cases is wrong:
                return [dose >= 0.1 + 0.03 * n for n in range(10)]
            return [dose < 0.3 + 0.01 * n for n in range(10)]

    wrong, right = ([Case(asked(n), "yes", "no") for n in range(10)] for _ in range(2))
    trying = FeatureSetSearch(Told(), wrong, right, meets, SearchOptions())
    strong = Intervention(features=((KEY, planted[0]),), strength=1.0)
    one = CandidateFeature(KEY, planted[0], "up", "search", 1.0)
    grown = trying.grow([CandidateTrial(one, strong, 1.0, 0.0, 0.0, 1.0)], None)
    assert [own.strength for own in grown] == [0.25]
    tuned = trying.tune(grown)
    assert [own.strength for own in tuned] == [0.25 * 1.12]
    assert trying.score(tuned) == pytest.approx(0.7)


def test_when_nothing_does_it_the_finding_says_so(steerable, planted):
    wish = Goal(cases=[Case(asked(n), planted[1]) for n in range(8)])
    told = find(
        steerable,
        wish,
        SearchOptions(candidates=3, doses=(1e-4,), scales=(1.0001,), controls=0, tokens=3),
    )
    assert not told.found
    assert "No feature set does this" in told.reason
    already = Goal(cases=[Case(asked(n), "") for n in range(8)])
    assert "already does this" in find(steerable, already).reason


def test_side_effects_of_nothing_are_nothing(steerable):
    prompts = [(asked(1), (7, 9, 11)), (asked(2), (12, 13))]
    none = side_effects(steerable, [Intervention(features=((KEY, 1),), strength=0.0)], prompts)
    assert none.kl.value == 0.0
    assert none.perplexity_ratio == 1.0
    much = side_effects(steerable, [Intervention(features=((KEY, 1),), strength=5.0)], prompts)
    assert much.kl.value > 0
    assert much.perplexity_ratio != 1.0
    with pytest.raises(CausalError, match="at least one prompt"):
        side_effects(steerable, [], [])


def test_controls_match_in_density(steerable):
    density = np.full(64, 0.5)
    density[:30] = 0.01
    stats = {KEY: {"density": density, "max": np.ones(64)}}
    coder = steerable.dictionaries[KEY]
    drawn = matched_controls(coder, KEY, 3, stats, count=4, avoid=[5])
    assert len(set(drawn)) == 4
    assert all(i < 30 and i not in (3, 5) for i in drawn)
    assert drawn == matched_controls(coder, KEY, 3, stats, count=4, avoid=[5])
    with pytest.raises(CausalError, match="were asked for"):
        matched_controls(coder, KEY, 3, stats, count=64)


def scene(number):
    picture = Image.effect_noise((64, 64), 60 + number).convert("RGB")
    questions = (
        Question("presence", "Is there a cat?", "yes", "cat"),
        Question("presence", "Is there a dog?", "no", "dog"),
        Question("colour", "What colour is the cat?", "red"),
    )
    return Sample(id=f"s{number}", images=(picture,), truth=SceneTruth((), "", "", questions))


def test_the_harness_counts_fixed_and_broken_beside_its_controls(steerable, subject):
    cases = presence_cases([scene(n) for n in range(3)])
    assert [c.kind for c in cases] == ["presence"] * 6
    assert cases[1].wanted == "no"
    assert cases[1].unwanted == "yes"
    arms = {"no-op": {}, "reconstruction": reconstruction_only(steerable.dictionaries.values())}
    told = examine(steerable, cases, arms, max_new_tokens=3)
    no_op = told.table()[0]
    assert no_op["unchanged"]["value"] == 1.0
    assert no_op["broken"]["value"] in (0.0, None)
    assert told.arms[1].answers != told.base.answers
    figures = told.by_kind()["presence"]
    assert figures["accuracy"]["n"] == 6
    assert share_fixed(told, "no-op").value in (0.0,) or np.isnan(share_fixed(told, "no-op").value)
    with pytest.raises(CausalError, match="no arm 'x'"):
        share_fixed(told, "x")
    with pytest.raises(CausalError, match="None of these samples"):
        presence_cases([scene(0)], kinds=("emotion",))


def test_a_set_that_says_no_to_everything_is_seen_to_break_every_yes():
    cases = presence_cases([scene(n) for n in range(3)])
    plain = Arm("base", tuple(c.wanted for c in cases), (True,) * 6)
    deaf = Arm("deaf", ("no",) * 6, tuple(c.wanted == "no" for c in cases))
    after = Examination(tuple(cases), plain, (deaf,))
    told = after.broken_by()["deaf"]
    assert told["presence yes"]["value"] == 1.0
    assert told["presence no"]["value"] == 0.0
    assert told["presence yes"]["n"] == told["presence no"]["n"] == 3
    assert after.accuracies(after)["plain"]["presence"] == 1.0
    assert after.accuracies(after)["deaf"] == {
        "presence yes": 0.0,
        "presence no": 1.0,
        "presence": 0.5,
    }


def test_accuracies_are_of_all_cases_though_few_of_the_right_ones_are_asked_again():
    cases = presence_cases([scene(n) for n in range(10)])
    right = tuple(c.wanted == "yes" or n >= 10 for n, c in enumerate(cases))  # 5 noes are wrong
    base = Arm("base", tuple("yes" for _ in cases), right)
    whole = Examination(tuple(cases), base, ())
    asked = whole.fewer(9)
    now = Arm("half", tuple("" for _ in asked), tuple(n % 2 == 0 for n in range(len(asked))))
    plain = Arm("base", now.answers, tuple(right[cases.index(case)] for case in asked))
    told = Examination(tuple(asked), plain, (now,)).accuracies(whole)
    assert told["plain"] == {"presence yes": 1.0, "presence no": 0.5, "presence": 0.75}
    rows = list(zip(asked, plain.right, now.right, strict=True))
    stayed = [after for case, was, after in rows if was and case.wanted == "no"]
    assert 0 < len(stayed) < 5
    expected = 0.5 * sum(stayed) / len(stayed) + 0.5 * 3 / 5
    assert told["half"]["presence no"] == pytest.approx(expected)


def test_blame_splits_a_wrong_answer_into_image_and_text(steerable):
    case = presence_cases([scene(0)])[1]
    told = blame(steerable, case, "Yes, a dog.")
    assert 0 <= told.image_share <= 1
    assert all(f.score > 0 for f in (*told.image, *told.text))
    total = told.attribution.sites[0].score.sum()
    assert np.isfinite(total)


def test_pope_and_hallusionbench_files(tmp_path):
    """A bad row is counted and named; nothing stops."""
    Image.new("RGB", (9, 7), "red").save(tmp_path / "a.jpg")
    rows = [
        {"question_id": 1, "image": "a.jpg", "text": "Is there a cat?", "label": "no"},
        {"question_id": 2, "image": "gone.jpg", "text": "Is there a cat?", "label": "yes"},
        {"question_id": 3, "image": "../a.jpg", "text": "Is there a cat?", "label": "yes"},
        {"question_id": 4, "image": "a.jpg", "text": "Is there a cat?", "label": "maybe"},
        {"question_id": 5, "image": "a.jpg", "label": "yes"},
    ]
    pope = tmp_path / "pope.json"
    pope.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    cases, report = read_pope(pope, tmp_path)
    assert [(c.wanted, c.sample.images[0].size) for c in cases] == [("No", (9, 7))]
    assert report.total == 4
    bench = tmp_path / "hallusion.json"
    entry = {"category": "VD", "subcategory": "figure", "question": "Is it?", "gt_answer": "1"}
    entries = [
        {**entry, "visual_input": "1", "filename": "./a.jpg"},
        {**entry, "visual_input": "0", "filename": None, "gt_answer": "0"},
    ]
    bench.write_text(json.dumps(entries), encoding="utf-8")
    cases, report = read_hallusion(bench, tmp_path)
    assert [(c.kind, c.wanted, len(c.sample.images)) for c in cases] == [
        ("VD/figure", "Yes", 1),
        ("VD/figure", "No", 0),
    ]
    pope.write_text("{", encoding="utf-8")
    with pytest.raises(CausalError, match="not JSON"):
        read_pope(pope, tmp_path)


def test_intervals():
    assert share(0, 0).n == 0
    assert share(0, 0).as_json()["value"] is None
    all_right = share(50, 50)
    assert all_right.value == 1.0
    assert 0.9 < all_right.low < all_right.high == 1.0
    few = mean([1.0, 2.0, 3.0, float("nan")])
    assert (few.value, few.n) == (2.0, 3)
    assert few.low <= 2.0 <= few.high


def test_answers_are_the_same_in_any_batch(subject):
    cases = [Case(asked(n, "say yes or no" * (n + 1)), "yes") for n in range(5)]
    assert answers(subject, cases, rows=2) == answers(subject, cases, rows=5)


def test_candidates_promise_what_attribution_says(steerable, planted):
    """Taking out promises the score's opposite, amplifying the score; protected cases cost."""
    from semascope.causal.attribution.attribute import attribute
    from semascope.causal.search.candidates import from_attribution, metric_of
    from semascope.causal.steering.interventions import Where

    case = Case(asked(1), planted[1])
    lists = from_attribution(steerable, [case], [Where()], 64)
    assert len(lists) == 3  # up, down, amplify; nothing to protect
    batch = steerable.subject.encode([case.sample], answer="", max_tokens=None)
    found = attribute(steerable.subject, batch, steerable.dictionaries, metric_of(steerable, case))
    scores = {share.id: share.score for share in found.features()}
    for push, own in zip(("up", "down", "amplify"), lists, strict=True):
        assert {c.push for c in own} == {push}
        assert [c.promise for c in own] == sorted((c.promise for c in own), reverse=True)
    for candidate in lists[1]:
        assert candidate.promise == pytest.approx(-scores[candidate.id], rel=1e-3, abs=1e-5)
    for candidate in lists[2]:
        assert candidate.promise == pytest.approx(scores[candidate.id], rel=1e-3, abs=1e-5)
    fair = from_attribution(steerable, [case], [Where()], 64, [case])
    assert len(fair) == 6
    opposed = Case(case.sample, "no", planted[1])
    (_, net, *_) = from_attribution(steerable, [case], [Where()], 64, [opposed])
    plain = {c.id: c.promise for c in lists[0]}
    assert all(c.promise <= plain[c.id] + 1e-6 for c in net)


def test_words_that_set_inputs_apart_give_sets_of_their_own(steerable) -> None:
    with_wish = [asked(n, "tell me the name of") for n in range(3)]
    without = [asked(n, "tell me the age of") for n in range(3)]
    maps = [steerable.subject.encode([s], answer="").maps[0] for s in (*with_wish, *without)]
    texts = [{m.tokens[i] for i in np.flatnonzero(m.kinds == Kind.TEXT)} for m in maps]
    every = set.union(*texts[:3])
    often = {word for word in every if sum(word in text for text in texts[:3]) > 1}
    own = often - set.union(*texts[3:])
    lists = from_words(steerable, with_wish, without, 4)
    assert len(own) > 1
    assert len(lists) == min(4, len(own))
    assert all(0 < len(one) <= 4 and {c.push for c in one} == {"up"} for one in lists)
    # What a list names fires on one of those words, and it is what fires most there.
    batch = steerable.subject.encode([with_wish[0]], answer="")
    x = steerable.subject.run(batch, ["resid_post.2"])["resid_post.2"][0]
    best = set()
    for at, token in enumerate(batch.maps[0].tokens):
        if token in own:
            codes = steerable.dictionaries[KEY].encode(x[at][None].float())
            best.add(int(codes.indices[0][codes.values[0].argmax()]))
    assert {one[0].index for one in lists} <= best
    assert from_words(steerable, with_wish, with_wish, 4) == []


def test_sets_of_every_kind_of_token_are_kept() -> None:
    """Those that move the margin most, all at the last token, do not crowd out the question's."""
    last, question = Where(positions=(-1,)), Where(roles=("user",))
    own = [
        [CandidateFeature(KEY, i, "up", "contrast", 1.0, question if i == 5 else last)]
        for i in range(7)
    ]
    assert [one[0].index for one in _some_of_each(own, 2)] == [0, 1, 5]
    assert [one[0].index for one in _some_of_each(own, 6)] == [0, 1, 2, 3, 4, 5]


def test_a_set_that_breaks_what_is_right_is_refused(steerable, planted):
    """Saying the word everywhere mends every case, and every protected answer pays for it."""
    word = planted[1].strip()

    def fair(text, case):
        return case.wanted in text and not (case.unwanted and case.unwanted in text)

    wish = Goal(
        cases=[Case(asked(n), word) for n in range(10)],
        protect=[Case(asked(n, "keep"), "", word) for n in range(10)],
    )
    options = SearchOptions(
        candidates=8, doses=(6.0,), price=0.0, controls=1, tokens=3, trial_cases=4, shortlist=2
    )
    told = find(steerable, wish, options, judge=fair)
    assert not told.found
    assert "No feature set does this" in told.reason


def test_few_cases_are_taken_from_all_over_and_no_wrong_one_is_left_out() -> None:
    """Where errors are rare, the first cases would hold none of them."""
    cases = tuple(Case(Sample(id=str(n)), "yes", "no", "presence") for n in range(100))
    assert spread(cases[:5], 9) == list(cases[:5])
    few = spread(cases, 10)
    assert [case.id for case in few] == [case.id for case in cases[::10]]
    right = tuple(n % 25 != 7 for n in range(100))
    base = Arm("base", ("yes",) * 100, right)
    kept = Examination(cases, base, ()).fewer(8)
    assert [case.id for case in kept[:4]] == [cases[n].id for n in (7, 32, 57, 82)]
    assert len(kept) == 12


def test_what_cannot_be_better_is_not_run_to_its_end(steerable, planted):
    """A set that mends no more than another is not asked what it breaks; a dose, not priced."""
    from semascope.causal.search.feature_sets import FeatureSetSearch
    from semascope.causal.search.trials import CachedRuns, CandidateTrials

    wrong, right = ([Case(asked(n), "yes", "no") for n in range(4)] for _ in range(2))
    asked_about = []

    class Told(CachedRuns):
        def met(self, cases, chosen, judge, tokens):
            asked_about.append(cases)
            return [cases is right or n < 2 for n in range(4)]

        def margins(self, cases, interventions):
            asked_about.append(cases)
            return [0.5 if interventions else 0.0] * len(cases)

    memo = Told(steerable, Ledger())
    one = Intervention(features=((KEY, planted[0]),))
    trying = FeatureSetSearch(memo, wrong, right, meets, SearchOptions())
    assert trying.score([one], 0.5) <= 0.5
    assert asked_about == [wrong]
    assert trying.score([one], 0.4) == pytest.approx(0.5)
    asked_about.clear()
    bench = CandidateTrials(memo, SearchOptions(), (), wrong, right, ())
    candidate = CandidateFeature(KEY, planted[0], "up", "search", 1.0)
    assert bench._trial([candidate], 1.0, 0.5).worth == -math.inf
    assert right not in asked_about
    assert bench._trial([candidate], 1.0, 0.4).worth == pytest.approx(0.5)


def test_costs_are_counted_with_one_standard_error_more():
    from semascope.statistics import mean, upper_mean, upper_share

    assert upper_share(0.0, 30) == 0.0
    assert upper_share(0.1, 100) == pytest.approx(0.13)
    values = [float(n) for n in range(100)]
    error = math.sqrt(sum((v - 49.5) ** 2 for v in values) / 100 / 100)
    assert upper_mean(mean(values)) == pytest.approx(49.5 + error, rel=0.05)
