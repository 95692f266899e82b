"""What the stages of one run share: the model, the corpus, the dictionary, each loaded once.

Everything is loaded when first asked for, so a run whose stages all stand loads nothing.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from semascope import __version__
from semascope.config import Options, RunOptions, digest
from semascope.corpus.sample import Corpus, SkipReport
from semascope.errors import SiteNotFound, WorkspaceError
from semascope.wiring import expand
from semascope.workspace import Workspace, versions

if TYPE_CHECKING:
    from torch import Tensor

    from semascope.atlas import Atlas, Media
    from semascope.evidence import Evidence
    from semascope.explain.explainers.term_frequency import TermFrequency
    from semascope.explain.reader.self_reading import SelfReader
    from semascope.explain.scorers.lexical_judge import LexicalJudge
    from semascope.explain.scorers.lmm_judge import LMMJudge
    from semascope.pipeline.accounts.samples import SampleAccount
    from semascope.pipeline.activation_cache import ActivationCache
    from semascope.pipeline.activations import SiteChunks
    from semascope.pipeline.splits import CorpusSubset

BACKGROUND = 1000
"""About so many samples stand for the corpus when words are counted."""
PIECE, PIECES = 4096, 256
"""Bytes of a piece of a file, and how many pieces stand for a large one."""
TINY = "tiny:"
"""Prefix of the random-weight subjects that tests stand on."""


class Run:
    """One workspace with its options, and what the stages load."""

    def __init__(self, workspace: Workspace, options: RunOptions) -> None:
        self.workspace, self.options = workspace, options
        self.model_check: dict[str, Any] = {}
        """What the model check found, once the subject is loaded."""
        self.rank = 0
        """Which worker of several this process is; each asks a server of its own."""
        self.promoted_tokens: dict[int, list[list[str]]] = {}
        """By block of features: the tokens that each feature's direction makes likelier."""
        self.local_models: dict[str, Any] = {}
        """Models other than the subject that explain or judge here, by reference."""
        self.self_reader: SelfReader | None = None
        self.lmm_judge: LMMJudge | None = None
        self.lexical_judge: LexicalJudge | None = None
        self._left_out = SkipReport()

    @property
    def dictionary_id(self) -> str:
        """``site/name`` of the dictionary that the stages after training read."""
        return "/".join(self.options.chosen())

    @cached_property
    def subject(self) -> Any:
        """The model under the microscope."""
        from semascope.pipeline.model_check import vetted

        train, record = self.options.train, self.workspace.record()
        found = load_subject(
            train.subject,
            device=train.device,
            dtype=train.dtype,
            trust=train.trust or bool(record.model_check.get("trusted")),
            trust_remote_code=train.trust_remote_code,
        )
        self.model_check = vetted(record, found, subject_stamp(train.subject), trust=train.trust)
        return found

    @cached_property
    def same_subject(self) -> Any:
        """The model that the run's features are of; WorkspaceError where it is another by now.

        The stages redo what stands on changed weights by themselves; whoever only uses what stands
        would put one model's features into another.
        """
        was, ref = self.workspace.record().weights, self.options.train.subject
        if was and was != subject_stamp(ref):
            raise WorkspaceError(
                f"The weights of {ref} are not those that {self.workspace.root} was made with, so "
                "its features are not of this model. Make it anew: "
                f"semascope demo --no-serve --workspace {self.workspace.root}"
            )
        return self.subject

    def settle(self) -> None:
        """Put the sites that wildcards stand for in their place, so that the record names them."""
        train = self.options.train
        if not any(set(pattern) & set("*?[,") for pattern in train.sites):
            return
        sites = expand(train.arch, train.sites, self.subject.resolve)
        train = train.model_copy(update={"sites": sites})
        self.options = self.options.model_copy(update={"train": train})

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The sites that dictionaries read or give, in the order asked for."""
        wirings = self.options.train.wirings()
        asked = tuple(dict.fromkeys(site for wires in wirings for site in wires.sites))
        for pattern in asked:
            found: list[str] = self.subject.resolve(pattern)
            if found != [pattern]:
                raise SiteNotFound(
                    f"A dictionary is trained at one site; {pattern!r} names {len(found)}: "
                    f"{', '.join(found[:8])}{'…' if len(found) > 8 else ''}. Name one with --site, "
                    "or several with --sites."
                )
        return asked

    @cached_property
    def corpus(self) -> Corpus:
        """What it reads."""
        from semascope.corpus.open import open_corpus

        train = self.options.train
        corpus = open_corpus(train.corpus, seed=train.seed, columns=train.columns)
        self._left_out.merge(corpus.skipped)
        return corpus

    @property
    def opened(self) -> SkipReport:
        """What was recognised and left out when the corpus was opened, before any row was read."""
        _ = self.corpus
        return self._left_out

    @cached_property
    def warned(self) -> set[str]:
        """Kinds of refusal that were warned of."""
        return set()

    def account(self, stage: str) -> SampleAccount:
        """Where a stage counts what it reads."""
        from semascope.pipeline.accounts.samples import SampleAccount

        return SampleAccount(self.workspace.root / "reading", stage)

    def same_corpus(self) -> None:
        """WorkspaceError where the corpus's content is not what the dictionaries were trained on.

        Runs of before the fingerprint was kept are taken at their word.
        """
        record, train = self.workspace.record(), self.options.train
        was = record.fingerprint if record.corpus == train.corpus else ""
        if was and was != self.corpus.fingerprint():
            root = self.workspace.root
            raise WorkspaceError(
                f"The corpus {train.corpus} is not what {root} was trained on: files of it have "
                "changed since, and one run must not mix two corpora. Put the files back; or train "
                f"anew: remove {root}/dictionaries and {root}/evidence, then run semascope train "
                f"--workspace {root}; or name another --workspace."
            )

    @cached_property
    def reader(self) -> Any:
        """The subject as it reads a corpus, in bfloat16 where that is faster."""
        from semascope.pipeline.autocast import reader

        return reader(self.subject, self.options.train)

    def chunks(self, corpus: Corpus) -> SiteChunks:
        """The activations of a corpus at the sites that dictionaries are trained on."""
        from semascope.pipeline.activations import SiteChunks

        train = self.options.train
        wirings = [train.wiring_of(site, name) for site, name, _ in train.trained()]
        sites = tuple(dict.fromkeys(site for wires in wirings for site in wires.sites))
        chunks = SiteChunks(
            self.reader, corpus, sites, rows=train.rows, max_tokens=train.max_tokens
        )
        chunks.warned = self.warned
        chunks.kept = tuple(site for wires in dict.fromkeys(wirings) for site in wires.reads)
        return chunks

    @cached_property
    def memory(self) -> ActivationCache:
        """Activations that training read and gathering has not yet."""
        from semascope.pipeline.activation_cache import ActivationCache

        most = int(self.options.train.remember * 1e9)
        folder = self.workspace.root / "activations"
        return ActivationCache(folder, most, stamp=self.beneath())

    @cached_property
    def dictionary(self) -> Any:
        """The trained dictionary, of several the one chosen."""
        from semascope.dictionary import load

        return load(self.workspace.dictionary(*self.options.chosen()))

    @cached_property
    def unembedding(self) -> Tensor:
        """(V, d) directions of the output tokens in the subject's residual stream."""
        directions: Tensor = self.subject.unembedding()
        return directions

    @cached_property
    def evidence(self) -> Evidence:
        """What was gathered of it."""
        from semascope.evidence import Evidence

        return Evidence.open(self.workspace.evidence(), self.dictionary_id)

    def evidence_corpus(self) -> CorpusSubset:
        """The samples that evidence is gathered from."""
        from semascope.pipeline.splits import CorpusSubset, evidence_rows, read_rows

        gather, seed = self.options.gather, self.options.train.seed
        rows = (evidence_rows if gather.fresh else read_rows)(self.corpus, seed, gather.samples)
        return CorpusSubset(self.corpus, rows)

    @cached_property
    def background(self) -> TermFrequency:
        """Samples, evenly spread, that say how common a word is; read once for all namers."""
        from semascope.explain.explainers.term_frequency import TermFrequency

        shown = self.evidence.shown
        step = max(1, len(shown) // BACKGROUND)
        return TermFrequency(shown.get(number) for number in range(0, len(shown), step))

    @cached_property
    def atlas(self) -> Atlas:
        """What is known."""
        from semascope.atlas import Atlas

        return Atlas.open(self.workspace.atlas)

    @cached_property
    def media(self) -> Media:
        """The pictures of the exemplars."""
        from semascope.atlas import Media

        return Media(self.workspace.media)

    def beneath(self) -> str:
        """A hash of what the run stands on; cheap, since nothing is loaded for it."""
        return digest(subject_stamp(self.options.train.subject))

    def sign(self) -> None:
        """Write into ``run.json`` what the run is of."""
        record, train = self.workspace.record(), self.options.train
        if self._resumes():
            self.same_corpus()
        site, name, _ = train.dictionaries()[0]
        signed = {
            "subject": train.subject,
            "weights": subject_stamp(train.subject),
            "site": site,
            "dictionary": name,
            "corpus": train.corpus,
            "fingerprint": self.corpus.fingerprint(),
            "seed": train.seed,
            "versions": dict(versions()),
            "model_check": self.model_check or record.model_check,
        }
        self.workspace.save(record.model_copy(update=signed))

    def _resumes(self) -> bool:
        """Whether training goes on from states that a stopped run has left."""
        old = self.workspace.record().stages.get("train")
        if old is None or old.options != self.options.train.binding():
            return False
        places = (self.workspace.dictionary(s, n) for s, n, _ in self.options.train.dictionaries())
        return any(place.is_dir() and any(place.iterdir()) for place in places)

    def choose(self) -> None:
        """Sign ``run.json`` with the dictionary that the stages after training read.

        Raises WorkspaceError where the corpus is another than that of the training.
        """
        self.same_corpus()
        site, name = self.options.chosen()
        record = self.workspace.record()
        if (record.site, record.dictionary) != (site, name):
            signed = {"site": site, "dictionary": name}
            self.workspace.save(record.model_copy(update=signed))


def recorded(workspace: Workspace) -> RunOptions:
    """The options that a workspace's stages were made with; defaults for stages not done yet."""
    stages = workspace.record().stages
    parts: dict[str, Options] = {}
    for name, default in RunOptions():
        if name not in stages:
            continue
        try:
            parts[name] = type(default)(**stages[name].options)
        except ValidationError:  # written by another version: its stage will be done anew
            continue
    return RunOptions.model_validate(parts)


def load_subject(
    ref: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust: bool = False,
    trust_remote_code: bool = False,
) -> Any:
    """The subject by name; ``tiny:llava`` and its like have random weights and no files."""
    if ref.startswith(TINY):
        from semascope.subject.testing import tiny

        return tiny(ref.removeprefix(TINY))
    from semascope.subject import Subject

    return Subject.load(
        ref, device=device, dtype=dtype, trust=trust, trust_remote_code=trust_remote_code
    )


def subject_stamp(ref: str) -> str:
    """What changes when the subject's weights do, without loading them.

    A folder by the sizes of its files and by pieces from all over them, so that a copy is the same
    model; the embedded model by its shipped weights; a name at a hub stands for itself.
    """
    if ref.startswith(TINY):
        return __version__
    folder = Path(ref).expanduser()
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return digest([(p.name, p.stat().st_size, _glanced(p)) for p in files])
    shipped = Path(__file__).parent.parent / "subject" / ref.replace("-", "_")
    weights = shipped / "weights.safetensors"
    if not weights.is_file():
        return ref
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _glanced(path: Path) -> str:
    """A hash of pieces from all over a file; of the whole of a small one."""
    size, seen = path.stat().st_size, hashlib.sha256()
    step = max(PIECE, size // PIECES)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            seen.update(file.read(PIECE))
    return seen.hexdigest()
