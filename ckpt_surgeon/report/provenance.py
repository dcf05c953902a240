"""What a manifest tells, as reports: of one key (`explain` without rules), and what was proven by it (`verify --manifest`)."""

from __future__ import annotations

from typing import Any

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning import Lineage, Origin, Ran, Work
from ckpt_surgeon.provenance import Proof
from ckpt_surgeon.report.amounts import keys_text
from ckpt_surgeon.report.entries import entry_document, keys_in_short
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Column, Document, Line, Page, Section, Table
from ckpt_surgeon.spec import Header

__all__ = ["OriginReport", "ProofReport"]

_MOST_PARAMETERS = 60  # characters of an op's parameters in a line
_MISSING = "missing: no source key leads here, and it was allowed to"


@dataclass(frozen=True)
class OriginReport:
    """Where one key of a checkpoint comes from, by its manifest; of a key of the source, what became of it."""

    key: str
    header: Header
    lineage: Lineage

    def page(self) -> Page:
        """What the key is, the ops, the rules which had a part in it, the other end."""
        return Page.of(f"explain {escape(self.key)}", self._subject(), self._rules(), self._ends())

    def document(self) -> Document:
        """The JSON document `explanation`. Of the keys between two rules a manifest does not tell."""
        origin, entry = self._origin(), self.header.entries.get(self.key)
        passages = [{"where": _where(ran), "op": ran.op, "why": "", "inputs": [], "outputs": []} for ran in self._ran()]
        is_target = origin is not None or self._is_missing()
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "explanation",
            "key": self.key,
            "side": "target" if is_target else "source",
            "entry": None if entry is None else entry_document(entry),
            "passages": passages,
            "ends": list(self._other_keys()),
            "recipe": self._recipe(origin) if is_target else None,
            "reason": _MISSING if self._is_missing() else "",
        }

    def _origin(self) -> Origin | None:
        return self.lineage.origin(self.key) if self.key in self.header.entries else None

    def _is_missing(self) -> bool:
        return self.key not in self.header.entries and self.key in self.lineage.missing

    def _other_keys(self) -> tuple[str, ...]:
        """The source's keys of a target's, or the other way round. Raises RulesError for a key which neither side knows."""
        origin = self._origin()
        if origin is not None:
            return origin.sources
        found = tuple(self.lineage.came_of(self.key, self.header.entries))
        if not found and not self._is_missing():
            guess = nearest(self.key, self.header.entries)
            hint = f"did you mean {escape(guess)}?" if guess else ""
            raise RulesError(f"neither the checkpoint has a key {escape(self.key)}, nor comes any of its keys from one", hint=hint)
        return found

    def _ran(self) -> list[Ran]:
        """The rules which had a part in the key, or in what became of it."""
        origins = [self.lineage.origin(key) for key in ([self.key] if self._origin() else self._other_keys())]
        return [self.lineage.rules[i] for i in sorted({i for origin in origins for i in origin.way.rules})]

    def _recipe(self, origin: Origin | None) -> Document:
        if origin is None:
            return {"sources": [], "ops": [], "class": "missing"}
        ops = [{"op": work.op, **work.parameters, **_output(work)} for work in origin.way.steps]
        return {"sources": list(origin.sources), "ops": ops, "class": origin.classification}

    def _subject(self) -> list[Block]:
        origin = self._origin()
        if self._is_missing():
            return [Line(f"target key {escape(self.key)}: missing"), Line(_MISSING, "note")]
        if origin is None:
            return [Line(f"source key {escape(self.key)}")]
        lines: list[Block] = [Line(f"target key {escape(self.key)} {escape(str(self.header.entries[self.key]))}: {origin.classification}")]
        ops = ", ".join(f"{escape(work.op)}({_parameters(work)})" for work in origin.way.steps)
        return [*lines, Line(f"computed by {ops}")] if ops else lines

    def _rules(self) -> list[Block]:
        rows = tuple((escape(_where(ran)), escape(ran.op)) for ran in self._ran())
        return [Section("rules"), Table((Column("rule", "code"), Column("op", "code")), rows)] if rows else [Line("no rule touched it")]

    def _ends(self) -> list[Block]:
        title, other = ("from", "source") if self._origin() else ("to", "target")
        rows = tuple((escape(key),) for key in self._other_keys())
        return [Section(title), Table((Column(f"{other} key", "code"),), rows)] if rows else [Line("no source key", "note")]


@dataclass(frozen=True)
class ProofReport:
    """What `verify --manifest` found of the checkpoint at `path`: a proof which went well."""

    proof: Proof
    path: str

    def page(self) -> Page:
        """The verdict, and what it rests on."""
        proof = self.proof
        lines = [Line(f"verified {escape(self.path)}: its {keys_text(proof.keys)} are those of its manifest", "good")]
        lines += [Line(f"plan: {proof.lineage.plan}")]
        lines += [Line(f"{proof.digested} tensors have the digests of the manifest")] if proof.digested else []
        lines += [Line(f"{proof.made_anew} tensors were made from the source anew, and are the same")] if proof.made_anew else []
        left = proof.left_out
        lines += [Line(f"not made anew, since they are a model's own: {keys_in_short(left)}", "note")] if left else []
        return Page.of(f"verify {escape(self.path)}", lines)

    def document(self) -> Document:
        """The JSON document `proof`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "proof",
            "path": self.path,
            "plan": self.proof.lineage.plan,
            "keys": self.proof.keys,
            "digested": self.proof.digested,
            "made_anew": self.proof.made_anew,
            "left_out": list(self.proof.left_out),
        }


def _where(ran: Ran) -> str:
    """`rule 2 (3:5)`: its number among all, its line and column."""
    return f"rule {ran.number} ({ran.place})" if ran.place else f"rule {ran.number}"


def _output(work: Work) -> dict[str, Any]:
    """Which of several outputs it is; a manifest does not tell how many there are."""
    return {"output": work.output} if work.output else {}


def _parameters(work: Work) -> str:
    words = [f"{name}={value}" for name, value in work.parameters.items() if value is not None]
    words += [f"output {output}" for output in _output(work).values()]
    return escape(", ".join(words), limit=_MOST_PARAMETERS)
