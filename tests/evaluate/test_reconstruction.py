"""The arm without the SAE error: x̂ at exactly the tokens that a dictionary reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semascope.corpus.sample import Sample, Turn
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.dictionary.neurons import SignedNeurons
from semascope.errors import CausalError
from semascope.evaluate.reconstruction import Reconstruct, reconstruction_only
from semascope.subject.model import Subject
from semascope.subject.readable import read_kinds
from semascope.subject.testing import tiny
from semascope.subject.types import Batch, EditContext, Kind


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny("llava")


@pytest.fixture(scope="module")
def batch(subject: Subject) -> Batch:
    """Two prompts with a picture each, one longer than the other."""
    noise = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    samples = [
        Sample(id=text, turns=(Turn("user", text, images=1),), images=(Image.fromarray(noise[n]),))
        for n, text in enumerate(("what is it", "what colour is the cat here"))
    ]
    return subject.encode(samples, answer="")


def coder_at(subject: Subject, site: str, name: str = "main") -> SparseCoder:
    config = CoderConfig(d_in=subject.sites()[site], width=64, k=6)
    return SparseCoder(config, site=site, name=name, seed=3)


def reconstructed(coder: SparseCoder, rows: Tensor) -> Tensor:
    return coder.decode(coder.encode(rows.float())).detach()


def test_template_tokens_stay_in_the_language_model(subject: Subject, batch: Batch) -> None:
    coder = coder_at(subject, "resid_post.1")
    (edit,) = reconstruction_only([coder]).values()
    x = subject.run(batch, [coder.site])[coder.site]
    after = edit(x, EditContext(0, batch.maps))
    read = torch.from_numpy(np.stack([read_kinds(m) != 0 for m in batch.maps]))
    assert 0 < int(read.sum()) < int(batch.mask.sum())
    torch.testing.assert_close(after[read], reconstructed(coder, x[read]))
    assert torch.equal(after[~read], x[~read])


@pytest.mark.parametrize(("site", "extra"), [("projector", 0), ("vision.1", 1)])
def test_every_patch_is_reconstructed_on_the_vision_side(
    subject: Subject, batch: Batch, site: str, extra: int
) -> None:
    """Without: the kinds of the prompt's first tokens decide which patches stay as they are."""
    coder = coder_at(subject, site)
    edits = reconstruction_only([coder])
    x = subject.run(batch, [site])[site]  # (pictures, patches, d)
    after = edits[site](x, EditContext(0, batch.maps))
    torch.testing.assert_close(
        after[:, extra:], reconstructed(coder, x[:, extra:].flatten(0, 1)).view_as(x[:, extra:])
    )
    assert torch.equal(after[:, :extra], x[:, :extra])
    plain = subject.logits(batch)
    steered = subject.logits(batch, edits=edits)
    images = torch.from_numpy(np.stack([m.kinds == Kind.IMAGE for m in batch.maps]))
    first = int(images.int().argmax(1).min())
    torch.testing.assert_close(steered[:, :first], plain[:, :first])
    assert not torch.allclose(steered[:, -1], plain[:, -1])


def test_a_patch_that_is_a_sink_stays(subject: Subject, batch: Batch) -> None:
    coder = coder_at(subject, "projector")
    x = subject.run(batch, ["projector"])["projector"].clone()
    x[0, 3] *= 1000
    after = reconstruction_only([coder])["projector"](x, EditContext(0, batch.maps))
    changed = (after != x).any(-1)
    assert not changed[0, 3]
    assert int((~changed).sum()) == 1


def test_what_a_transcoder_reads_is_reconstructed_too(subject: Subject, batch: Batch) -> None:
    """Without: its reader takes the place of the edit at the site that it reads."""
    write = subject.hooks["mlp_neurons.1"].module.weight.detach().T
    neurons = SignedNeurons("mlp_neurons.1", subject.sites()["mlp_neurons.1"], write=write)
    coder = coder_at(subject, "mlp_neurons.1")
    edits = reconstruction_only([neurons, coder])
    seen = subject.run(batch, ["mlp_neurons.1"], edits=edits)["mlp_neurons.1"]
    plain = subject.run(batch, ["mlp_neurons.1"])["mlp_neurons.1"]
    read = torch.from_numpy(np.stack([read_kinds(m) != 0 for m in batch.maps]))
    torch.testing.assert_close(seen[read], reconstructed(coder, plain[read]))


def test_two_dictionaries_cannot_reconstruct_one_site(subject: Subject) -> None:
    with pytest.raises(CausalError, match=r"resid_post.1/main and resid_post.1/other"):
        reconstruction_only(
            [coder_at(subject, "resid_post.1"), coder_at(subject, "resid_post.1", "other")]
        )


def test_a_transcoder_whose_site_did_not_run_is_an_error(subject: Subject, batch: Batch) -> None:
    """Without: x itself is encoded, with numbers that mean nothing."""
    coder = coder_at(subject, "resid_post.1")
    with pytest.raises(CausalError, match="did not run"):
        Reconstruct("mlp_out.1", coder)(torch.zeros(2, 4, 3), EditContext(0, batch.maps))
