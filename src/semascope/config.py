"""The options of a run, one frozen model a stage: a field's docstring is its help.

The same models are the command line's flags, the record in ``run.json`` and the schema of the
API. An option that changes what a stage makes is part of the stage's hash; one that only changes
how fast it is made is listed in ``FREE`` and is not.

Nothing here knows how a stage works, and nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from semascope.errors import DictionaryError
from semascope.numbers import MOST, Count, CountOrNone, NotNegative, Positive, Seed, Share
from semascope.wiring import Wiring, wired, wiring

DEFAULT_WORKSPACE = "workspace/demo"
FREE = frozenset(
    "device dtype autocast concurrency shard price_in price_out remember track trust "
    "trust_remote_code max_reply_tokens reply_timeout".split(),
)
"""Options that do not change what is made."""
Arch = Literal[
    "topk",
    "batchtopk",
    "jumprelu",
    "relu",
    "gated",
    "matryoshka-topk",
    "matryoshka-batchtopk",
    "matryoshka-jumprelu",
    "matryoshka-relu",
    "matryoshka-gated",
    "transcoder",
    "transcoder-batchtopk",
    "transcoder-jumprelu",
    "transcoder-relu",
    "skip_transcoder",
    "skip_transcoder-batchtopk",
    "skip_transcoder-jumprelu",
    "skip_transcoder-relu",
    "crosscoder",
    "crosscoder-batchtopk",
    "crosscoder-jumprelu",
    "crosscoder-relu",
]
"""Architectures of a dictionary; matryoshka: nested prefixes that each reconstruct alone."""


class Options(BaseModel):
    """Base of all options: frozen, no unknown fields, finite numbers, docstrings as help."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Options that came later: left out of the hash at their defaults, so that older runs stand."""

    def binding(self) -> dict[str, Any]:
        """The options that decide what is made, as JSON."""
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if name not in FREE and not (name in self.LATER and getattr(self, name) == usual[name])
        }


class TrainOptions(Options):
    """Dictionaries of one site or several, trained on activations as they stream by."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"arch", "sites", "widths", "keep", "outlier", "settings", "columns", "adopted"}
    )

    subject: str = "sprite-llava"
    """The model: the embedded one, a folder, or a name at a model hub."""
    site: str = "resid_post.12"
    """Where its activations are read."""
    corpus: str = "scenes?n=40000+text"
    """What it reads: built-in parts joined by +, a folder, a file, or a dataset's name."""
    columns: tuple[str, ...] = ()
    """Which columns of a table hold what, where their names are not usual ones: text=body
    image=shot question=q answer=a conversation=chat. None: usual names are found."""
    name: str = "main"
    """Name of the dictionary."""
    tokens: Count = 512_000
    """Train on at least so many tokens."""
    latents: Count = 4608
    """Number of features."""
    k: Count = 32
    """Features active at one token."""
    rows: Count = 48
    """Samples a step; all of their tokens are one batch."""
    max_tokens: int = Field(default=144, ge=8, le=MOST)
    """Cut a sample after so many tokens of words; those that stand for pictures do not count."""
    lr: NotNegative = 0.0
    """Learning rate; 0 follows the number of features."""
    text_only: bool = False
    """With a subject that sees: read a corpus that has no pictures."""
    arch: Arch = "topk"
    """Which latents are active; topk unless there is a reason. A transcoder gives one site from
    another (skip: with a linear path beside it), a crosscoder several at once; both are TopK
    unless another is named after them. See docs/dictionaries.md."""
    sites: tuple[str, ...] = ()
    """Several sites in one pass over the model; wildcards as in 'resid_post.*'. Later stages take
    the first. For a transcoder mlp_in.12:mlp_out.12, where it reads and what it gives; for a
    crosscoder resid_post.6+resid_post.12, in one dictionary. None: the one --site."""
    widths: tuple[str, ...] = ()
    """Several numbers of features a site, absolute or as multiples of the site's width: 1x 4x 16x.
    Each makes a dictionary of its own, called NAME-4x. None: the one --latents."""
    keep: tuple[str, ...] = ()
    """Share of the tokens of a kind to train on: text=1 image=0.25 tile=0.1. None: all."""
    outlier: NotNegative = 10.0
    """Leave out tokens whose norm is over so many times the median, in training and in the report:
    attention sinks, one of which holds more variance than a thousand others. 0 for none."""
    settings: tuple[str, ...] = ()
    """Further settings of the training as name=value: optimizer=muon multi_topk=0.125 k_start=128
    resample=0.25,0.5. docs/dictionaries.md lists them. None: as published."""
    remember: NotNegative = 2.0
    """Gigabytes of activations kept on disk until they are gathered, so that the model need not
    read the same samples twice; 0 for none."""
    seed: Seed = 0
    """Of the weights, the samples and their order."""
    adopted: tuple[str, ...] = ()
    """Dictionaries made elsewhere, as site/name. The verb adopt sets this: they are read by all
    later stages like the others, and never trained."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1…"""
    dtype: str = "auto"
    """auto, float32, bfloat16, float16."""
    autocast: Literal["auto", "on", "off"] = "auto"
    """Multiply in bfloat16 while the model reads the corpus to train, gather and score; weights and
    sums stay as they are. auto: where this processor does it faster and no --dtype is given."""
    trust: bool = False
    """Go on where the model check fails, or weights of the model are missing."""
    trust_remote_code: bool = False
    """Run Python code that the model's checkpoint brings with it."""
    track: Literal["", "trackio", "wandb"] = ""
    """Send the figures of training to trackio (local) or Weights & Biases as well, under the
    workspace's name; metrics.jsonl is written in any case."""
    shard: Literal["none", "feature"] = "none"
    """Under torchrun: none, each process takes a share of the tokens; feature, each holds a share
    of a TopK dictionary's features, for those too large for one device."""

    def dictionaries(self) -> tuple[tuple[str, str, str], ...]:
        """(site, name, width as asked or "") of each; later stages take the first.

        Those that are trained, then those that were adopted.
        """
        adopted = [(wires.site, name, "") for wires, name in self.brought()]
        return tuple(dict.fromkeys((*self.trained(), *adopted)))

    def trained(self) -> tuple[tuple[str, str, str], ...]:
        """The same of those that are trained here."""
        adopted = {(wires.site, name) for wires, name in self.brought()}
        asked = [
            (wires.site, f"{self.name}-{width}" if width else self.name, width)
            for wires in self.own_wirings()
            for width in self.widths or ("",)
        ]
        both = [one for one in asked if one[:2] in adopted]
        return tuple(one for one in asked if one not in both)

    def brought(self) -> tuple[tuple[Wiring, str], ...]:
        """(what it reads and writes, name) of each that was adopted."""
        return tuple(
            (wired(word.rpartition("/")[0]), word.rpartition("/")[2]) for word in self.adopted
        )

    def wiring_of(self, site: str, name: str) -> Wiring:
        """What one of the dictionaries reads and writes."""
        brought = [wires for wires, own in self.brought() if (wires.site, own) == (site, name)]
        return brought[0] if brought else next(w for w in self.own_wirings() if w.site == site)

    def wirings(self) -> tuple[Wiring, ...]:
        """What the dictionaries read and write, those that were adopted last.

        Raises:
            DictionaryError: the sites are not what the architecture reads.
        """
        every = (self.wiring_of(site, name) for site, name, _ in self.dictionaries())
        return tuple(dict.fromkeys(every))

    def own_wirings(self) -> tuple[Wiring, ...]:
        """What the words of ``sites``, or ``site``, mean, in the order asked for.

        Raises:
            DictionaryError: the sites are not what the architecture reads.
        """
        return tuple(wiring(self.arch, word) for word in self.sites or (self.site,))


class GatherOptions(Options):
    """Evidence for every feature, in one pass over the samples that training read first."""

    LATER: ClassVar[frozenset[str]] = frozenset({"dictionary", "store_all"})

    samples: Count = 4000
    """How many scenes and texts."""
    fresh: bool = False
    """Take samples that training did not read; the model then reads these too."""
    top: Count = 24
    """Strongest samples kept a feature."""
    batch: Count = 32
    """Samples at once."""
    outlier: NotNegative = 10.0
    """Leave out tokens whose norm is over so many times their sample's median; 0 for none."""
    store_all: bool = False
    """Keep every activation too, as Parquet by sample and by feature: large."""
    dictionary: str = ""
    """Which, where several were trained: its name or site/name; the later stages read the same.
    None: the first."""


class ExplainOptions(Options):
    """Words for every alive feature."""

    LATER: ClassVar[frozenset[str]] = frozenset({"least_gain", "extra_body"})

    explainers: tuple[str, ...] = ("vocabulary", "reader")
    """Who names features, in this order: vocabulary (counts words, asks no model), reader (the
    model reads its own activations), subject (the model is shown crops), causal (features are
    switched on over blank pictures), lmm (a server), local (a Hugging Face model), cascade (cheap
    ones first, dear ones where those score low), best (all of them, the best is kept)."""
    ask: int = Field(default=32, ge=-1, le=MOST)
    """How many features a model is asked about, those most in need of words first; -1 for all."""
    base_url: str = ""
    """Address of an OpenAI-compatible LMM server, for the explainer lmm; several, parted by
    commas, are shared out among workers."""
    model: str = ""
    """Which of the server's models; for the explainer local, a folder or a hub name."""
    least_gain: Share = 0.5
    """The vocabulary namer says nothing where its best words tell samples on which the feature
    fires from others no better than this: the share that they hit less that of false alarms (.5
    is an AUROC of .75). Higher: fewer words, and truer ones."""
    bar: Share = 0.85
    """A cascade asks the next explainer where the best words so far detect worse than this."""
    most: Share = 0.25
    """Of all features, the largest share that a cascade puts to a dear explainer, those worst off
    first; 1 for all that are below the bar."""
    concurrency: Count = 4
    """Requests under way at once."""
    max_reply_tokens: CountOrNone = 0
    """Tokens that one reply of a model may have; 0: 300 of a server, 200 of a local model. Models
    that think before they answer need thousands."""
    reply_timeout: Positive = 120.0
    """Seconds after which a question to the server is asked again."""
    extra_body: str = ""
    """A JSON object of fields to add to every request, for what a server wants beside the usual:
    '{"reasoning_effort": "low"}', '{"temperature": 1}'. A null leaves one out: '{"seed": null}'.
    Fields that a server says it does not take are left out by themselves."""
    price_in: NotNegative = 0.0
    """Money for a million prompt tokens of that server."""
    price_out: NotNegative = 0.0
    """Money for a million completion tokens."""


class ScoreOptions(Options):
    """How true the words are, on samples that no explainer saw."""

    LATER: ClassVar[frozenset[str]] = frozenset({"extra_body"})

    scorers: tuple[str, ...] = (
        "iou",
        "detection",
        "fuzzing",
        "simulation",
        "specificity",
        "told_apart",
    )
    """Which figures: iou, detection, fuzzing, simulation, specificity, told_apart,
    monosemanticity, sensitivity, clip, grounded, or all of those that can be had here."""
    judge: str = "words"
    """Who rates how well words fit a sample: words (no model), meaning (words, and word vectors
    so that a synonym is no miss; semascope[embed]), or lmm (with --base-url)."""
    base_url: str = ""
    """Address of an OpenAI-compatible LMM server, for the judge lmm."""
    model: str = ""
    """Which of the server's models."""
    concurrency: Count = 4
    """Requests under way at once."""
    max_reply_tokens: CountOrNone = 0
    """Tokens that one reply of the judge lmm may have; 0: 300. Models that think before they answer
    need thousands."""
    reply_timeout: Positive = 120.0
    """Seconds after which a question to the server is asked again."""
    extra_body: str = ""
    """A JSON object of fields to add to every request to the judge lmm, such as
    '{"reasoning_effort": "low"}'; a null leaves a field out."""
    clip: str = "openai/clip-vit-base-patch16"
    """The CLIP model of the scorer clip: a folder, or a hub name."""
    detector: str = "IDEA-Research/grounding-dino-tiny"
    """The GroundingDINO model of the scorer grounded."""
    segmenter: str = "facebook/sam-vit-base"
    """The SAM model of the scorer grounded."""
    seed: Seed = 0
    """Of the shuffled baseline."""


class RunOptions(Options):
    """All stages of a run."""

    train: TrainOptions = TrainOptions()
    """The dictionary."""
    gather: GatherOptions = GatherOptions()
    """The evidence."""
    explain: ExplainOptions = ExplainOptions()
    """The words."""
    score: ScoreOptions = ScoreOptions()
    """The figures."""

    def chosen(self) -> tuple[str, str]:
        """(site, name) of the dictionary that the stages after training read.

        Raises:
            DictionaryError: ``gather.dictionary`` names none of those trained.
        """
        made = [(site, name) for site, name, _ in self.train.dictionaries()]
        wanted = self.gather.dictionary
        fits = [one for one in made if wanted in ("", one[1], "/".join(one))]
        if not fits:
            raise DictionaryError(
                f"No dictionary here is called {wanted!r}; there are "
                f"{', '.join(map('/'.join, made))}."
            )
        return fits[0]


StageName = Literal["train", "gather", "explain", "score", "index"]
STAGES: tuple[StageName, ...] = ("train", "gather", "explain", "score", "index")
"""In the order of the data flow; each stands on the one before."""


def digest(*parts: Any) -> str:
    """A short hash of JSON values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
