"""The sections of a rules document -> Rules: version, sources, presets, rules, allow, assert, finetune."""

from __future__ import annotations

from dataclasses import replace

from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules.document import Document
from ckpt_surgeon.rules.entries import read_entry
from ckpt_surgeon.rules.node import Node, shown
from ckpt_surgeon.rules.rule import Allow, Rule, Rules

__all__ = ["ALLOW", "SECTIONS", "VERSION", "read_document", "read_single", "read_list"]

VERSION = 1
SECTIONS = ("version", "sources", "presets", "rules", "allow", "assert", "finetune")
ALLOW = ("missing", "unexpected", "casts")
_SHAPE = "A rules file is `version: 1`, then `rules:` with a list of rules."


def read_document(document: Document) -> Rules:
    """A whole rules document. Raises RulesError with all its problems."""
    top = Node(document, document.data)
    if not isinstance(top.data, dict):
        top.complain("no rules: the document is empty" if top.data is None else f"no rules; found {shown(top.data)}", _SHAPE)
        return top.finish(Rules())
    if not top.is_mapping("a rules document"):
        return top.finish(Rules())
    for word in top.data:
        if word in OPS:
            top.child(word).complain(f"{word!r} stands outside `rules`", f"Write it into the list: `rules: [{{{word}: ...}}]`.", key=True)
    sections = {str(node.place[-1]): node for node in top.words(SECTIONS, "a rules document", OPS)}
    _check_version(top)
    rules = _read_rules(sections["rules"]) if "rules" in sections else ()
    allow = _read_allow(sections["allow"]) if "allow" in sections else Allow()
    if "presets" in sections:
        from ckpt_surgeon.rules.presets import read_presets

        rules = read_presets(sections["presets"]) + rules
    found = Rules(rules, allow)
    if "sources" in sections:
        from ckpt_surgeon.rules.sources_section import read_sources

        found = replace(found, sources=read_sources(sections["sources"]))
    if "assert" in sections:
        from ckpt_surgeon.rules.guards_section import read_guards

        found = replace(found, guards=read_guards(sections["assert"]))
    if "finetune" in sections:
        from ckpt_surgeon.rules.finetune_section import read_finetune

        found = replace(found, finetune=read_finetune(sections["finetune"]))
    return top.finish(found)


def read_single(document: Document) -> Rules:
    """One rule, which is the whole document."""
    top = Node(document, document.data)
    if top.data is None:
        top.complain("no rule: the text is empty", "Write one as in a file: `strip_prefix: module.`.")
        return top.finish(Rules())
    rule = read_entry(top)
    return top.finish(Rules((rule,) if rule is not None else ()))


def read_list(document: Document) -> tuple[Rule, ...]:
    """A list of rules, which is the whole document."""
    top = Node(document, document.data)
    return top.finish(_read_rules(top))


def _check_version(top: Node) -> None:
    if "version" not in top.data:
        top.complain("`version` is missing", f"Write `version: {VERSION}` at the top.")
        return
    version = top.child("version")
    if version.data != VERSION or isinstance(version.data, bool):
        version.complain(f"version is {shown(version.data)}; this program reads version {VERSION}")


def _read_rules(node: Node) -> tuple[Rule, ...]:
    if not isinstance(node.data, list):
        node.complain(f"rules is a list; found {shown(node.data)}", "Put `- ` before each rule; an empty list is `[]`.")
        return ()
    read = [read_entry(node.child(at)) for at in range(len(node.data))]
    return tuple(rule for rule in read if rule is not None)


def _read_allow(node: Node) -> Allow:
    if not node.is_mapping("allow"):
        return Allow()
    return Allow(**{str(part.place[-1]): part.patterns(f"allow: {part.place[-1]}") for part in node.words(ALLOW, "allow")})
