"""A dictionary that was trained elsewhere becomes one of a workspace, for all later stages.

It is checked against the subject's site, measured on a little of the corpus, written in this
project's format, and recorded as the train stage would record it. It is never trained, and never
removed when training is done anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from semascope.config import Arch, RunOptions, TrainOptions, digest
from semascope.errors import DictionaryError, WorkspaceError
from semascope.pipeline.checks import verify
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.base import StageProgress, ignore
from semascope.pipeline.stages.train import beside, measure
from semascope.wiring import JOIN, Wiring
from semascope.workspace import StageRecord, Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from semascope.dictionary import SparseCoder

NAME = re.compile(r"[\w.-]+")
SAMPLES = 64
"""Held-out samples that an adopted dictionary is measured on."""


@dataclass(frozen=True, slots=True)
class AdoptedDictionary:
    """What became of a dictionary."""

    id: str
    """``site/name``."""
    beside: tuple[str, ...]
    """Ids of the dictionaries that were there before."""
    figures: Mapping[str, Any]
    """FVU, L0 and others on held-out tokens."""

    def doubts(self) -> str:
        """A sentence where the dictionary does not fit what the subject has at its site, or ""."""
        fvu, l0 = float(self.figures["fvu"]), float(self.figures["l0"])
        if l0 == 0:
            return (
                "No feature was active on any token: the activations' scale is another than the "
                "one that it was trained on (--scale), or the site or the model is (--site, "
                "--subject)."
            )
        if fvu > 1:
            return (
                f"FVU is {fvu:.3g}: it reconstructs worse than the mean activation would. Most "
                "often the site, the layer or the model is another than in training (--site, "
                "--subject), or the activations' scale is (--scale)."
            )
        return ""


def adopt(
    workspace: Workspace,
    coder: SparseCoder,
    given: Mapping[str, Any],
    *,
    name: str = "",
    source: str = "",
    samples: int = SAMPLES,
    progress: StageProgress = ignore,
) -> AdoptedDictionary:
    """Bring a dictionary into a workspace, new or not.

    Args:
        workspace: where; made if it is not there.
        coder: the dictionary, with its sites by the subject's names.
        given: fields of ``TrainOptions`` (subject, corpus, …) for a workspace that is not there
            yet; in one that is, they may only repeat what it has.
        name: what to call it; by default "main", or "adopted" beside others.
        source: where it was read, for the record.
        samples: held-out samples to measure it on.

    Raises:
        WorkspaceError: another subject or corpus, an unfinished training, or a name that is taken.
        DictionaryError: the dictionary does not fit the site.
    """
    if not coder.site:
        raise DictionaryError(
            "The checkpoint does not say where its input is read. Name a site of the model, as in "
            "--site resid_post.12; semascope model sites lists them."
        )
    with workspace.lock():
        options, others = _options(workspace, coder, given, name)
        run = Run(workspace, options)
        wiring, own = options.train.brought()[-1]
        coder.site, coder.site_out, coder.name = wiring.site, wiring.writes, own
        progress(0, 1, "loading the subject")
        _fits(run, coder, wiring)
        verify(run)
        progress(0, 1, "measuring on held-out tokens")
        figures = measure(run, coder, wiring, samples)
        _write(run, coder, figures, others, source)
        return AdoptedDictionary(f"{wiring.site}/{own}", others, figures)


def _options(
    workspace: Workspace, coder: SparseCoder, given: Mapping[str, Any], name: str
) -> tuple[RunOptions, tuple[str, ...]]:
    """The run's options with the dictionary among them, and the ids that were there before."""
    from semascope.pipeline import recorded

    wiring = Wiring(tuple(coder.site.split(JOIN)), coder.site_out if coder.cfg.transcodes else "")
    record = workspace.record()
    stage = record.stages.get("train")
    own = name or ("adopted" if stage else "main")
    if not NAME.fullmatch(own):
        raise WorkspaceError(
            f"{own!r} is no name for a folder: use letters, digits, '.', '-', '_'."
        )
    word = f"{wiring}/{own}"
    if stage is None:
        if not given.get("subject"):
            raise WorkspaceError(
                f"{workspace.root} holds no run yet. Say which model the dictionary is of, as in "
                "--subject sprite-llava, and with --corpus what it shall read."
            )
        named = {"arch": arch_of(coder), "latents": coder.width, "k": max(1, coder.k)}
        place = {"sites": (str(wiring),), "site": wiring.reads[0], "name": own}
        train = TrainOptions(**{**given, **named, **place, "adopted": (word,)})
        return RunOptions(train=train), ()
    options = recorded(workspace)
    if not stage.done:
        raise WorkspaceError(
            f"The training in {workspace.root} is not finished. Finish it (semascope train "
            f"--workspace {workspace.root}), or name another --workspace."
        )
    _same(options.train, given, workspace)
    there = tuple(f"{site}/{other}" for site, other, _ in options.train.dictionaries())
    if f"{wiring.site}/{own}" in there:
        raise WorkspaceError(
            f"{workspace.root} has a dictionary {wiring.site}/{own} already. Give this one another "
            "--name."
        )
    train = options.train.model_copy(update={"adopted": (*options.train.adopted, word)})
    return options.model_copy(update={"train": train}), there


def _same(train: TrainOptions, given: Mapping[str, Any], workspace: Workspace) -> None:
    """WorkspaceError where what was given is not what the workspace has."""
    for field in ("subject", "corpus"):
        value = given.get(field)
        if value and value != getattr(train, field):
            raise WorkspaceError(
                f"{workspace.root} is of --{field} {getattr(train, field)}, not {value}. Leave the "
                "flag out, or name another --workspace."
            )


def arch_of(coder: SparseCoder) -> Arch:
    """What ``--arch`` would have made such a dictionary."""
    cfg = coder.cfg
    if cfg.transcodes:
        stem = "skip_transcoder" if cfg.skip else "transcoder"
    else:
        stem = "crosscoder" if cfg.parts else ""
    named = "-".join(filter(None, (stem, cfg.architecture if cfg.architecture != "topk" else "")))
    wanted = named or "topk"
    found: Arch = wanted if wanted in get_args(Arch) else (stem or "topk")  # type: ignore[assignment]
    return found


def _fits(run: Run, coder: SparseCoder, wiring: Wiring) -> None:
    """DictionaryError where widths are not those of the subject's sites."""
    if coder.cfg.transcodes and not wiring.writes:
        raise DictionaryError(
            "This is a transcoder, and it is not said where it writes. Name the site with "
            "--site-out, as in --site-out mlp_out.12."
        )
    widths = {site: int(run.subject.sites()[site]) for site in run.sites}
    read = sum(widths[site] for site in wiring.reads)
    for place, wide, has, flag in (
        (wiring.site, read, coder.d_in, "--site"),
        (wiring.writes, widths.get(wiring.writes, coder.d_out), coder.d_out, "--site-out"),
    ):
        if place and wide != has:
            raise DictionaryError(
                f"The dictionary has activations of width {has}, and {place} of "
                f"{run.options.train.subject} is {wide} wide: it is of another model or another "
                f"site. Name the site with {flag}, or the model with --subject."
            )
    if coder.cfg.layer_norm and wiring.writes:
        raise DictionaryError("A transcoder of layer-normed inputs cannot be adopted.")


def _write(
    run: Run,
    coder: SparseCoder,
    figures: Mapping[str, Any],
    others: tuple[str, ...],
    source: str,
) -> None:
    """The checkpoint first, then the record, so that a record never names what is not there."""
    from semascope.dictionary import save

    save(coder, run.workspace.dictionary(coder.site, coder.name), notes={"adopted": source})
    record = run.workspace.record()
    old = record.stages.get("train", StageRecord())
    if not others:
        run.sign()
    options = run.options.train.binding()
    key = f"{coder.site}/{coder.name}"
    stage = StageRecord(
        hash=digest("train", options, run.beneath()),
        options=options,
        done=True,
        seconds=old.seconds,
        starts=max(1, old.starts),
        figures=dict(beside(old.figures, others[0] if others else "", {key: figures})),
    )
    run.workspace.save_stage("train", stage)


def activations(
    subject: str, corpus: str, sites: Wiring, *, samples: int, device: str = "auto"
) -> Tensor:
    """(N, d) activations of a model at the sites that a dictionary reads, on part of a corpus."""
    import tempfile

    import torch

    from semascope.pipeline.activations import SiteChunks
    from semascope.pipeline.splits import CorpusSubset, held_out_rows
    from semascope.pipeline.stages.train import batches_of

    train = TrainOptions(subject=subject, corpus=corpus, site=sites.reads[0], device=device)
    with tempfile.TemporaryDirectory() as nothing:
        run = Run(Workspace(nothing), RunOptions(train=train))
        held = CorpusSubset(run.corpus, held_out_rows(run.corpus, train.seed, samples))
        chunks = SiteChunks(
            run.reader, held, sites.reads, rows=train.rows, max_tokens=train.max_tokens
        )
        batches = [batch.kept().x for batch in batches_of(chunks, Wiring(sites.reads), 0.0)]
    if not batches:
        raise DictionaryError(f"{corpus} gives no token at {sites.site}.")
    return torch.cat(batches)
