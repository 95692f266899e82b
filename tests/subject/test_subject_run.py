"""Sites found on every family, reading them, stopping, and changing what flows through."""

import pytest
import torch
from samples_of_subjects import asked, picture

from semascope.corpus.sample import Sample
from semascope.errors import SiteNotFound, SubjectError
from semascope.subject import EditContext
from semascope.subject.testing import MAKERS, TEXT


def batch_of(s, n: int = 1):
    images = (picture(90, 50),) if s.has_vision else ()
    return s.encode([asked("What is there?", *images, name=str(i)) for i in range(n)])


@pytest.mark.parametrize("family", MAKERS)
def test_every_site_of_every_family_is_reached_and_as_wide_as_it_says(subject, family) -> None:
    s = subject(family)
    known = s.sites()
    stems = {name.partition(".")[0] for name in known}
    text = {"resid_pre", "attn_out", "mlp_in", "mlp_neurons", "mlp_out", "resid_post"}
    assert stems == text | (set() if family in TEXT else {"vision", "projector"})
    assert len(known) == 18 + (0 if family in TEXT else 4)
    # LLaVA and LLaVA-NeXT read the tower before its last layer, which runs all the same.
    read = s.run(batch_of(s), list(known), stop=False)
    assert list(read) == list(known)
    for name, x in read.items():
        assert x.shape[-1] == known[name] > 0, name
        assert torch.isfinite(x).all(), name


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "llava", "qwen2_5_vl"])
def test_residuals_are_those_that_transformers_reports(subject, family) -> None:
    s = subject(family)
    batch = batch_of(s)
    read = s.run(batch, "resid_pre.*, resid_post.0, resid_post.1")
    told = s.model(**batch.inputs, output_hidden_states=True).hidden_states
    for n in range(3):
        torch.testing.assert_close(read[f"resid_pre.{n}"], told[n])
        if n < 2:
            torch.testing.assert_close(read[f"resid_post.{n}"], told[n + 1])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "llava"])
def test_an_mlp_is_the_map_from_its_input_to_its_output(subject, family) -> None:
    """What a transcoder learns: the MLP applied to ``mlp_in`` must give ``mlp_out``, with Gemma
    2's normalisation after it, which is what it adds to the residual stream."""
    s = subject(family)
    read = s.run(batch_of(s), "mlp_in.1, mlp_out.1")
    assert list(read) == ["mlp_in.1", "mlp_out.1"]
    made = s.hooks["mlp_in.1"].module(read["mlp_in.1"])
    if family == "gemma2":
        made = s.hooks["mlp_out.1"].module(made)
    torch.testing.assert_close(made, read["mlp_out.1"])


def test_joined_sites_are_read_side_by_side_and_never_edited_as_one(subject) -> None:
    """In the order of their names, and the run still ends at the deepest."""
    s = subject("llava")
    batch = batch_of(s)
    plain = s.run(batch, ["resid_post.0", "resid_post.1"])
    read = s.run(batch, ["resid_post.1+resid_post.0", "resid_post.0"])
    assert set(read) == {"resid_post.1+resid_post.0", "resid_post.0"}
    both = torch.cat([plain["resid_post.1"], plain["resid_post.0"]], dim=-1)
    assert torch.equal(read["resid_post.1+resid_post.0"], both)
    with pytest.raises(SiteNotFound, match=r"no site 'resid_post\.9'"):
        s.run(batch, ["resid_post.0+resid_post.9"])
    with pytest.raises(SubjectError, match="same tokens"):
        s.run(batch, ["vision.0+resid_post.0"])
    with pytest.raises(SiteNotFound, match="cannot be edited as one"):
        s.logits(batch, edits={"resid_post.0+resid_post.1": lambda x, _: x})


def test_a_run_ends_at_the_deepest_site(subject) -> None:
    s = subject("llama")
    layers = s.language.layers
    ran = []
    handles = [
        layer.register_forward_pre_hook(lambda *_, n=n: ran.append(n))
        for n, layer in enumerate(layers)
    ]
    s.run(batch_of(s), "resid_post.0, resid_pre.1")
    assert ran == [0, 1]
    s.run(batch_of(s), "resid_post.0", stop=False)
    assert ran == [0, 1, 0, 1, 2]
    for handle in handles:
        handle.remove()


def test_sites_by_wildcard_come_in_forward_order(subject) -> None:
    s = subject("llava")
    assert s.resolve("resid_post.*, projector,resid_post.1") == [
        "projector",
        "resid_post.0",
        "resid_post.1",
        "resid_post.2",
    ]
    with pytest.raises(SiteNotFound, match=r"Did you mean resid_post\.2\?.*resid_post\.0–2"):
        s.resolve("resid_pst.2")
    with (
        pytest.raises(SiteNotFound, match="not the pattern"),
        s.editing({"resid_post.*": lambda x, _: x}, ()),
    ):
        pass


def test_a_site_of_pictures_is_empty_where_there_are_none(subject) -> None:
    s = subject("llava")
    assert s.run(s.encode([Sample("a", text="cat")]), ["projector"])["projector"].shape == (
        0,
        0,
        32,
    )


@pytest.mark.parametrize("family", MAKERS)
def test_edits_change_what_follows_and_leave_nothing_behind(subject, family) -> None:
    s = subject(family)
    batch = batch_of(s, 2)
    before = s.logits(batch)
    for site in ("resid_pre.1", "mlp_in.1", "mlp_neurons.1", "attn_out.1", "resid_post.1"):
        assert torch.equal(s.logits(batch, edits={site: lambda x, _: x}), before)
        after = s.logits(batch, edits={site: lambda x, _: x + 1})
        assert not torch.allclose(after, before), site
        assert after.shape == before.shape
    assert torch.equal(s.logits(batch), before)


def test_a_site_is_read_after_its_edit(subject) -> None:
    s = subject("llama")
    batch = batch_of(s)
    plain = s.run(batch, ["mlp_out.1"])["mlp_out.1"]
    edited = s.run(batch, ["mlp_out.1"], edits={"mlp_out.1": lambda x, _: x * 2})["mlp_out.1"]
    torch.testing.assert_close(edited, plain * 2)


def test_hooks_are_gone_after_an_edit_that_fails(subject) -> None:
    """A hook left on a shared model would change every later answer in silence."""
    s = subject("llama")
    batch = batch_of(s)
    before = s.logits(batch)

    def fail(x: torch.Tensor, context: EditContext) -> torch.Tensor:
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        s.logits(batch, edits={"resid_post.1": fail, "mlp_out.0": lambda x, _: x + 1})
    assert torch.equal(s.logits(batch), before)
    assert not s.language._forward_pre_hooks


def test_gradients_flow_through_what_an_edit_brings(subject) -> None:
    s = subject("llava")
    batch = batch_of(s)
    leaf = s.run(batch, ["resid_post.0"])["resid_post.0"].clone().requires_grad_()
    s.logits(batch, edits={"resid_post.0": lambda x, _: leaf})[0, -1, 5].backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0
    assert all(p.grad is None for p in s.model.parameters())


def test_the_unembedding_reads_logits_up_to_the_norms_scale(subject) -> None:
    for family in ("llama", "gemma2"):
        s = subject(family)
        batch = batch_of(s)
        x = s.run(batch, ["resid_post.2"])["resid_post.2"][0]
        norm = x.pow(2).mean(-1, keepdim=True).add(1e-6).rsqrt()
        logits = (x * norm) @ s.unembedding().T
        cap = getattr(s.model.config, "final_logit_softcapping", None)
        logits = torch.tanh(logits / cap) * cap if cap else logits
        torch.testing.assert_close(logits, s.logits(batch)[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", MAKERS)
def test_logits_from_a_position_and_of_forked_rows_are_those_of_the_whole(subject, family) -> None:
    """What is before a fork is run once; after it, rows are as if they had been copies."""
    s = subject(family)
    batch = batch_of(s)
    total = batch.inputs["input_ids"].shape[1]
    tail = s.logits(batch, start=total - 3)
    assert tail.shape[1] == 3
    torch.testing.assert_close(tail, s.logits(batch)[:, -3:])
    assert not s.can_fork("resid_post.9") and not s.can_fork("projector")
    for site in ("resid_post.0", "mlp_out.1"):
        if family == "qwen3_vl" and not s.can_fork(site):  # its first layers add what is seen
            with pytest.raises(SubjectError, match="forked at"):
                s.logits(batch, fork=(site, 3))
            continue
        push = torch.randn(3, total, s.d_model)

        def pushed(x: torch.Tensor, context: EditContext, push=push, site=site) -> torch.Tensor:
            assert len(context.maps) == 3
            return x + push

        forked = s.logits(batch, edits={site: pushed}, start=total - 1, fork=(site, 3))
        assert forked.shape[:2] == (3, 1)
        for row in range(3):
            alone = s.logits(batch, edits={site: lambda x, _, p=push[row]: x + p})
            torch.testing.assert_close(forked[row, 0], alone[0, -1], rtol=1e-4, atol=1e-4)


def test_a_fork_is_refused_where_a_row_was_changed_before_it(subject) -> None:
    s = subject("llama")
    edits = {"resid_post.0": lambda x, _: 2 * x}
    with pytest.raises(SubjectError, match=r"resid_post\.0"):
        s.logits(batch_of(s), edits=edits, fork=("resid_post.1", 2))
    with pytest.raises(SubjectError, match="one row"):
        s.logits(batch_of(s, 2), fork=("resid_post.1", 2))
