"""A diff as a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.report.amounts import keys_text, share_text
from ckpt_surgeon.report.entries import block_text, entry_document, folded, key_section, keys_in_short, notes_section
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Column, Document, Line, Page, Section, Table, Tone

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Diff

__all__ = ["DiffReport"]

_MOST_GUESSES = 5  # did-you-mean pairs, unless details were asked for

_Change = tuple[str, str]


@dataclass(frozen=True)
class DiffReport:
    """What stands between a source and a target. `stat`: the numbers only; `detailed`: each key in its own row."""

    diff: Diff
    source: str
    target: str
    stat: bool = False
    detailed: bool = False

    def page(self) -> Page:
        """The verdict in numbers, then each kind of difference, then what may help."""
        title = f"diff {escape(self.source)} {escape(self.target)}"
        if self.stat:
            return Page.of(title, self._verdict(), self._numbers())
        blocks = (self._differences(), self._remarks(), self._guesses(), notes_section(self.diff.notes), self._values())
        return Page.of(title, self._verdict(), *blocks)

    def document(self) -> Document:
        """The JSON document `diff`."""
        diff = self.diff
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "diff",
            "source": self.source,
            "target": self.target,
            "same": diff.same,
            "coverage": diff.coverage,
            "coverage_keys": diff.coverage_keys,
            "missing": {key: entry_document(entry) for key, entry in diff.missing.items()},
            "unexpected": {key: entry_document(entry) for key, entry in diff.unexpected.items()},
            "mismatched": {key: {"source": entry_document(a), "target": entry_document(b)} for key, (a, b) in diff.mismatched.items()},
            "matched": list(diff.matched),
            "casts": {key: {"source": a.name, "target": b.name} for key, (a, b) in diff.casts.items()},
            "filled": list(diff.filled),
            "allowed": list(diff.allowed),
            "wrappers": self._wrappers_document(),
            "nearest": dict(diff.nearest),
            "suggested": diff.suggested,
            "notes": list(diff.notes),
            "values": self._values_document(),
        }

    def _wrappers_document(self) -> Document | None:
        found = self.diff.wrappers
        if found is None:
            return None
        return {"prefixes": list(found.prefixes), "segments": list(found.segments), "matches": found.matches, "rule": found.rule}

    def _verdict(self) -> list[Block]:
        counts = self.diff.coverage_counts
        text = f"{counts.keys} of {counts.keys_wanted} keys match ({share_text(counts.by_elements)} of elements)"
        return [Line(text, "good" if self.diff.same else "bad")]

    def _numbers(self) -> list[Block]:
        diff = self.diff
        numbers = {"missing": diff.missing, "unexpected": diff.unexpected, "mismatched": diff.mismatched, "casts": diff.casts}
        counts = Line(", ".join(f"{len(keys)} {name}" for name, keys in numbers.items()))
        if diff.values is None:
            return [counts]
        from ckpt_surgeon.report.values import values_numbers

        return [counts, values_numbers(diff.values)]

    def _differences(self) -> list[Block]:
        diff = self.diff
        shapes = ((key, (escape(str(a)), escape(str(b)))) for key, (a, b) in diff.mismatched.items())
        casts = ((key, (a.short, b.short)) for key, (a, b) in diff.casts.items())
        return [
            *key_section("missing (in the target only)", diff.missing, "bad", detailed=self.detailed),
            *key_section("unexpected (in the source only)", diff.unexpected, "bad", detailed=self.detailed),
            *self._changes("mismatched", shapes, "bad"),
            *self._changes("casts", casts, "note"),
        ]

    def _changes(self, title: str, changes: Iterable[tuple[str, _Change]], tone: Tone) -> list[Block]:
        """Keys with what they are on either side, equal pairs together."""
        groups = _grouped(changes)
        if not groups:
            return []
        rows = [
            (block_text(text, count), *change) for change, keys in groups.items() for text, count in folded(keys, detailed=self.detailed)
        ]
        columns = (Column("key", "code"), Column("source"), Column("target"))
        return [Section(f"{title}: {keys_text(sum(map(len, groups.values())))}", tone), Table(columns, tuple(rows)).trimmed()]

    def _values(self) -> list[Block]:
        if self.diff.values is None:
            return []
        from ckpt_surgeon.report.values import values_blocks

        return values_blocks(self.diff.values, detailed=self.detailed)

    def _values_document(self) -> Document | None:
        if self.diff.values is None:
            return None
        from ckpt_surgeon.report.values import values_document

        return values_document(self.diff.values)

    def _remarks(self) -> list[Block]:
        diff = self.diff
        remarks = {"filled by torch itself": diff.filled, "allowed to be missing or unexpected": diff.allowed}
        return [Line(f"{title}: {keys_in_short(keys)}", "note") for title, keys in remarks.items() if keys]

    def _guesses(self) -> list[Block]:
        diff = self.diff
        blocks: list[Block] = []
        if diff.wrappers is not None:
            matches = diff.wrappers.matches
            rows = ((escape(diff.wrappers.rule, limit=400),),)
            blocks += [Section(f"wrappers: {matches} more names would agree with this rule"), Table((Column("rule", "code"),), rows)]
        if diff.suggested:
            wanted = len(diff.matched) + len(diff.missing) + len(diff.mismatched)
            blocks.append(Section(f"suggest: what {diff.suggested} of {wanted} keys are can be told; `suggest` writes the rules"))
        explained = diff.wrappers.matches if diff.wrappers is not None else 0
        if not diff.nearest or explained == len(diff.missing):
            return blocks
        pairs = [(escape(key), escape(guess)) for key, guess in diff.nearest.items()]
        shown = tuple(pairs if self.detailed else pairs[:_MOST_GUESSES])
        return [*blocks, Section("did you mean"), Table((Column("missing", "code"), Column("nearest in the source", "code")), shown)]


def _grouped(pairs: Iterable[tuple[str, _Change]]) -> dict[_Change, list[str]]:
    groups: dict[_Change, list[str]] = {}
    for key, group in pairs:
        groups.setdefault(group, []).append(key)
    return groups
