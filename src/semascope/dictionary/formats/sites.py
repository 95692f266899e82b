"""Names of hook points: other libraries' and this project's, both ways.

Only places that are the same tensor are mapped. TransformerLens' ``ln2.hook_normalized`` is not:
it lacks the norm's scale, which the input of the MLP has; nor is its ``hook_mlp_in``, which stands
before the norm. A name without a counterpart is kept as it is.
"""

from __future__ import annotations

import re
from pathlib import Path

OURS = re.compile(
    r"(resid_pre|resid_post|attn_out|mlp_in|mlp_out|mlp_neurons|vision)\.\d+|projector"
)
_LENS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "mlp.hook_in": "mlp_in",
    "mlp.hook_post": "mlp_neurons",
    "hook_mlp_out": "mlp_out",
    "mlp.hook_out": "mlp_out",
}
"""TransformerLens' hooks of a block."""
_TO_LENS = {ours: lens for lens, ours in reversed(_LENS.items())}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_MODULE = re.compile(
    r"(?:[\w]+\.)*(?:layers|h|blocks|block)\.(\d+)"
    r"(?:\.(mlp|feed_forward|self_attn|self_attention|attn|attention|"
    r"pre_feedforward_layernorm|output))?(?:\.(input|output))?"
)
_NUMBERED = re.compile(r"(resid_pre|resid_post|attn_out|mlp_in|mlp_out)(?:_layer)?_(\d+)")


def ours(name: str) -> str:
    """This project's name of a hook point; the name itself where there is none."""
    name = name.strip()
    if OURS.fullmatch(name):
        return name
    if (block := _BLOCK.fullmatch(name)) and block[2] in _LENS:
        return f"{_LENS[block[2]]}.{int(block[1])}"
    if numbered := _NUMBERED.fullmatch(name):
        return f"{numbered[1]}.{int(numbered[2])}"
    return module(name) or name


def module(path: str, *, reads: bool = False) -> str:
    """The site at a module's output, or with ``reads`` at its input; "" where there is none."""
    found = _MODULE.fullmatch(path)
    if not found:
        return ""
    number, part, side = int(found[1]), found[2], found[3]
    if part == "output":
        part, side = None, "output"
    into = reads or side == "input"
    if part is None:
        return f"{'resid_pre' if into else 'resid_post'}.{number}"
    if part in ("mlp", "feed_forward"):
        return f"{'mlp_in' if into else 'mlp_out'}.{number}"
    if part == "pre_feedforward_layernorm":
        return "" if into else f"mlp_in.{number}"
    return "" if into else f"attn_out.{number}"


def lens(site: str) -> str:
    """TransformerLens' name of a site, as SAELens and llamascopium write it; else the site."""
    stem, _, number = site.partition(".")
    return f"blocks.{number}.{_TO_LENS[stem]}" if stem in _TO_LENS and number else site


def folder_site(path: Path, *, transcodes: bool = False) -> tuple[str, str]:
    """(site read, site written or "") by the folder's name: sparsify names folders by module."""
    name = path.name
    if not module(name):
        return "", ""
    if transcodes:
        return module(name, reads=True), module(name)
    return module(name), ""


def known(site: str) -> bool:
    """Whether every part of a site's name is one of this project's."""
    return all(OURS.fullmatch(part) for part in site.split("+"))
