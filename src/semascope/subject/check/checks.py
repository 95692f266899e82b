"""The checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from semascope.errors import SemascopeError
from semascope.subject.check.outcome import FAILED, NOT_APPLICABLE, OK, CheckOutcome
from semascope.subject.check.trial import STEPS, CheckedPass, CheckedSubject, unpadded
from semascope.subject.generation.decoding import FOREIGN, apart
from semascope.subject.model import Subject
from semascope.subject.types import PICTURE_KINDS


def check(subject: Subject) -> list[CheckOutcome]:
    """Every check, by name; none raises."""
    trial = CheckedSubject(subject)
    return [_guarded(name, function, trial) for name, function in CHECKS.items()]


def failures(outcomes: Iterable[CheckOutcome]) -> list[CheckOutcome]:
    """Those that failed."""
    return [outcome for outcome in outcomes if outcome.state == FAILED]


def _guarded(
    name: str, function: Callable[[CheckedSubject], CheckOutcome], trial: CheckedSubject
) -> CheckOutcome:
    try:
        return function(trial)
    except SemascopeError as error:
        return CheckOutcome(name, FAILED, str(error))
    except FOREIGN as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return CheckOutcome(
            name, FAILED, f"The model's own code fails: {type(error).__name__}: {first}"
        )


def weights(trial: CheckedSubject) -> CheckOutcome:
    """No weight is NaN or infinite. (Missing weights are reported when a model is loaded.)"""
    bad = [
        name
        for name, value in trial.subject.model.named_parameters()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if bad:
        return CheckOutcome(
            "weights", FAILED, f"{len(bad)} weights hold NaN or infinity, {bad[0]} the first."
        )
    count = sum(1 for _ in trial.subject.model.parameters())
    return CheckOutcome("weights", OK, f"All {count} weights are finite numbers.", count)


def order(trial: CheckedSubject) -> CheckOutcome:
    """No token depends on later ones."""
    alone = trial.alone[0].logits[0]
    figure = apart(trial.longer[: len(alone)], alone)
    if figure <= trial.tolerance:
        return CheckOutcome("order", OK, "No token is changed by one that follows it.", figure)
    return CheckOutcome(
        "order",
        NOT_APPLICABLE if _prefix(trial) else FAILED,
        "Tokens of the prompt see those that follow them: this is not a causal language model, "
        "or one whose prompts are read both ways, for which no pass is begun half-way.",
        figure,
    )


def _prefix(trial: CheckedSubject) -> bool:
    """Whether the model decodes after a prompt with bidirectional attention (PaliGemma)."""
    return trial.subject.decodes.cached


def right_padding(trial: CheckedSubject) -> CheckOutcome:
    """Logits and sites of two prompts in one batch are those of each alone."""
    return _together(trial, "right padding", trial.right)


def left_padding(trial: CheckedSubject) -> CheckOutcome:
    """The same with padding on the left, as in generation."""
    if not trial.subject.decodes.batched:
        return CheckOutcome(
            "left padding", OK, "This model reads padding: prompts are answered one by one."
        )
    return _together(trial, "left padding", trial.left)


def _together(trial: CheckedSubject, name: str, both: CheckedPass) -> CheckOutcome:
    worst, where = 0.0, ""
    for row, alone in enumerate(trial.alone):
        mask = both.batch.mask[row]
        pairs = {"the logits": (both.logits[row], alone.logits[0])}
        pairs |= {
            site: (both.sites[site][row], alone.sites[site][0])
            for site in both.sites
            if trial.is_token_site(site)
        }
        for what, (batched, single) in pairs.items():
            far = apart(unpadded(batched, mask), single)
            if far > worst:
                worst, where = far, what
    if worst <= trial.tolerance:
        return CheckOutcome(name, OK, "Prompts in a batch give what each gives alone.", worst)
    pictures = " with pictures" if trial.subject.has_vision else ""
    return CheckOutcome(
        name,
        FAILED,
        f"Two prompts{pictures} of unlike length give other activations in one batch than alone "
        f"(by {worst:.2g} of their spread, at {where}).",
        worst,
    )


def hidden_states(trial: CheckedSubject) -> CheckOutcome:
    """resid_post.N is transformers' hidden state N + 1, the last one apart (it is normalised).

    State N in families that do not count the embedding (RWKV, Mamba).
    """
    one = trial.alone[0]
    posts = sorted(
        (int(site.partition(".")[2]) for site in one.sites if site.startswith("resid_post.")),
    )
    if not one.hidden or len(one.hidden) != len(posts) + 1 or len(posts) < 2:
        return CheckOutcome(
            "hidden states", NOT_APPLICABLE, "The model gives no hidden state for every layer."
        )
    aligned = [
        [_relative(one.sites[f"resid_post.{n}"], one.hidden[n + shift]) for n in posts[:-1]]
        for shift in (1, 0)
    ]
    far = min(aligned, key=max)
    worst = max(far)
    if worst <= trial.tolerance:
        return CheckOutcome(
            "hidden states", OK, "The residual sites are the model's own hidden states.", worst
        )
    return CheckOutcome(
        "hidden states",
        FAILED,
        f"resid_post.{posts[far.index(worst)]} is not the hidden state that transformers gives.",
        worst,
    )


def residual(trial: CheckedSubject) -> CheckOutcome:
    """resid_pre + attn_out + mlp_out = resid_post, in every layer that has all four."""
    gone = trial.subject.unavailable
    named = "; ".join(f"{site}: {why}" for site, why in list(gone.items())[:2])
    left = f" {len(gone)} sites are left out ({named})." if gone else ""
    far: list[float] = []
    for found in _layers(trial):
        added = found["resid_post"] - found["resid_pre"]
        far.append(_relative(found["attn_out"] + found["mlp_out"], added, found["resid_post"]))
    if not trial.subject.measured.proved:
        return CheckOutcome(
            "residual",
            NOT_APPLICABLE,
            "The model cannot read words alone, so its sites were not measured.",
        )
    if not far:
        return CheckOutcome("residual", NOT_APPLICABLE, f"No layer has both sublayer sites.{left}")
    if max(far) <= 10 * trial.tolerance:
        return CheckOutcome("residual", OK, f"Sublayers add up to their layer.{left}", max(far))
    return CheckOutcome(
        "residual", FAILED, f"attn_out and mlp_out do not add up to their layer.{left}", max(far)
    )


def _layers(trial: CheckedSubject) -> list[dict[str, Tensor]]:
    """By layer without a final normalisation: the residual stream around it, and its updates."""
    sites, hooks = trial.alone[-1].sites, trial.subject.hooks
    found = []
    for number in [s.partition(".")[2] for s in sites if s.startswith("resid_post.")]:
        names = {s: f"{s}.{number}" for s in ("resid_pre", "attn_out", "mlp_out", "resid_post")}
        if all(name in sites and not hooks[name].normalised for name in names.values()):
            found.append({stem: sites[name] for stem, name in names.items()})
    return found


def shapes(trial: CheckedSubject) -> CheckOutcome:
    """Every site of the language model holds one vector of its width for each token."""
    both = trial.right
    shape = tuple(both.batch.inputs["input_ids"].shape)
    widths = trial.subject.sites()
    wrong = [
        f"{site} {tuple(x.shape)}"
        for site, x in both.sites.items()
        if trial.is_token_site(site) and tuple(x.shape) != (*shape, widths[site])
    ]
    unread = [site for site in widths if site not in both.sites and trial.is_token_site(site)]
    if wrong or unread:
        what = wrong[0] if wrong else f"{unread[0]} is never reached"
        return CheckOutcome("shapes", FAILED, f"Sites do not hold one vector a token: {what}.")
    return CheckOutcome("shapes", OK, f"All {len(widths)} sites hold what they say.", len(widths))


def cache(trial: CheckedSubject) -> CheckOutcome:
    """Decoding with the cache gives the logits of full passes."""
    if not trial.subject.decodes.cached:
        return CheckOutcome(
            "cache", OK, "Answers are made without a cache, which is slow and right."
        )
    if order(trial).state != OK:
        return CheckOutcome(
            "cache", NOT_APPLICABLE, "Prompts are read both ways: nothing to compare."
        )
    figure = apart(trial.decoded[0], trial.longer[-1])
    if figure <= trial.tolerance:
        return CheckOutcome("cache", OK, "The cache gives what whole passes give.", figure)
    return CheckOutcome(
        "cache", FAILED, "Decoding with the cache gives other logits than whole passes.", figure
    )


def edits(trial: CheckedSubject) -> CheckOutcome:
    """Edits receive the position at which each pass begins."""
    cached = trial.subject.decodes.cached
    starts = trial.decoded[1]
    length = starts[0][1] if starts else 0
    right = [(0, length)]
    right += [(length + n, 1) if cached else (0, length + n + 1) for n in range(STEPS)]
    if starts == right:
        return CheckOutcome(
            "edits", OK, "Edits of generated tokens land where those stand.", length
        )
    return CheckOutcome("edits", FAILED, f"Edits are told {starts} where {right} is right.")


def context(trial: CheckedSubject) -> CheckOutcome:
    """The context length."""
    longest = trial.subject.context
    if longest is None:
        return CheckOutcome("context", OK, "The config names no limit of the context.")
    return CheckOutcome("context", OK, f"The model reads up to {longest} tokens.", longest)


def image_tokens(trial: CheckedSubject) -> CheckOutcome:
    """The processor makes image tokens for every picture, and the model accepts them."""
    if not trial.subject.has_vision:
        return CheckOutcome("image tokens", NOT_APPLICABLE, "The model reads words alone.")
    counts = []
    for one in trial.alone:
        kinds = one.batch.maps[0].kinds
        counts.append(int(sum((kinds == k).sum() for k in PICTURE_KINDS)))
    if counts[0] and counts[1] == 2 * counts[0]:
        return CheckOutcome("image tokens", OK, f"A picture is {counts[0]} tokens.", counts[0])
    if all(counts):
        return CheckOutcome(
            "image tokens",
            OK,
            f"One picture is {counts[0]} tokens, two are {counts[1]}.",
            counts[0],
        )
    return CheckOutcome(
        "image tokens",
        FAILED,
        "The prompt holds no token that stands for its picture, so nothing can be told apart by "
        "place.",
    )


def geometry(trial: CheckedSubject) -> CheckOutcome:
    """The rectangles of image tokens are known."""
    if not trial.subject.has_vision:
        return CheckOutcome("geometry", NOT_APPLICABLE, "The model reads words alone.")
    status = trial.alone[0].batch.maps[0].geometry
    if status == "known":
        return CheckOutcome("geometry", OK, "Where image tokens look is known.")
    return CheckOutcome("geometry", NOT_APPLICABLE, status)


def _relative(found: Tensor, truth: Tensor, beside: Tensor | None = None) -> float:
    """Norm of the difference, relative to that of ``truth`` or to 1% of ``beside``'s."""
    truth = truth.to(found.device).float()
    size = float(truth.norm())
    if beside is not None:
        size = max(size, 1e-2 * float(beside.float().norm()))
    return float((found.float() - truth).norm()) / max(size, 1e-12)


CHECKS: dict[str, Callable[[CheckedSubject], CheckOutcome]] = {
    "weights": weights,
    "order": order,
    "right padding": right_padding,
    "left padding": left_padding,
    "hidden states": hidden_states,
    "residual": residual,
    "shapes": shapes,
    "cache": cache,
    "edits": edits,
    "context": context,
    "image tokens": image_tokens,
    "geometry": geometry,
}
