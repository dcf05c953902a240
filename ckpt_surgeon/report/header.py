"""A header as a report: `inspect`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.report.amounts import byte_text, count_text
from ckpt_surgeon.report.digests import digest_line, digests_document
from ckpt_surgeon.report.entries import entry_document
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Column, Document, Line, Page, Section, Table
from ckpt_surgeon.spec import LINEAGE, Entry, Header, TensorSpec

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Digests

__all__ = ["HeaderReport", "parameter_positions"]

_COLUMNS = (
    Column("#", "number"),
    Column("param", "number"),
    Column("key", "code"),
    Column("shape"),
    Column("dtype"),
    Column("size", "number"),
    Column("tied with", "code"),
)


@dataclass(frozen=True)
class HeaderReport:
    """What a checkpoint or a model holds. `shown`: the keys to list (None: all); positions are those in the whole.

    digests: of its tensors, where they were taken; each is shown where `detailed`.
    """

    header: Header
    name: str
    shown: Collection[str] | None = None
    digests: Digests | None = None
    detailed: bool = False

    def page(self) -> Page:
        """What stands around the weights, the entries, the total."""
        return Page.of(f"inspect {escape(self.name)}", self._facts(), self._around(), self._entries(), self._total())

    def document(self) -> Document:
        """The JSON document `header`."""
        header, envelope = self.header, self.header.envelope
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "header",
            "name": self.name,
            "format": header.format,
            "tensors": len(header.tensors),
            "elements": header.numel,
            "nbytes": header.nbytes,
            "entries": list(self._entry_documents()),
            "digests": digests_document(self.digests, self.shown),
            "metadata": dict(header.metadata),
            "envelope": {
                "path": envelope.path,
                "tables": [{"path": table.path, "tensors": table.tensors, "nbytes": table.nbytes} for table in envelope.tables],
                "contents": dict(envelope.contents),
                "optimizers": list(envelope.optimizers),
            },
        }

    def _keys(self) -> Iterator[tuple[int, str]]:
        return ((i, key) for i, key in enumerate(self.header) if self.shown is None or key in self.shown)

    def _entry_documents(self) -> Iterator[Document]:
        header = self.header
        positions = parameter_positions(header)
        for i, key in self._keys():
            entry = {"position": i, "key": key, **entry_document(header.entries[key])}
            entry |= {"nbytes": header.tensors[key].nbytes} if key in header.tensors else {}
            entry |= {"kind": header.kinds[key]} if key in header.kinds else {}
            entry |= {"parameter": positions[key]} if key in positions else {}
            yield entry | ({"tied_with": header.aliases[key]} if key in header.aliases else {})

    def _facts(self) -> list[Block]:
        envelope = self.header.envelope
        facts = [f"format: {escape(self.header.format) or 'unknown'}"]
        if envelope.path or len(envelope.tables) > 1:
            facts.append(f"table: {escape(envelope.path) or '(the root)'}")
        if envelope.optimizers:
            facts.append(f"optimizer state: {', '.join(map(escape, envelope.optimizers))}")
        if LINEAGE in self.header.metadata:
            facts.append("lineage: a manifest tells where each key comes from (`explain`, `verify --manifest`)")
        return [*(Line(fact) for fact in facts), *digest_line(self.digests, len(self.header.opaque))]

    def _around(self) -> list[Block]:
        envelope = self.header.envelope
        blocks: list[Block] = []
        if len(envelope.tables) > 1:
            tables = [(escape(table.path) or "(the root)", str(table.tensors), byte_text(table.nbytes)) for table in envelope.tables]
            columns = (Column("PATH#...", "code"), Column("tensors", "number"), Column("size", "number"))
            blocks += [Section("tables"), Table(columns, tuple(tables))]
        pairs = [*envelope.contents.items(), *((name, text) for name, text in self.header.metadata.items() if name != LINEAGE)]
        if pairs:
            rows = tuple((escape(name), escape(text)) for name, text in pairs)
            blocks += [Section("around the weights"), Table((Column("name", "code"), Column("is")), rows)]
        return blocks

    def _entries(self) -> list[Block]:
        header = self.header
        digests = self.digests if self.detailed else None
        positions = parameter_positions(header)
        other = "-" if header.kinds else ""
        cells = cache(_cells)
        rows = []
        for i, key in self._keys():
            tied = escape(header.aliases[key]) if key in header.aliases else ""
            place = str(positions[key]) if key in positions else other
            rows.append((str(i), place, escape(key), *cells(header.entries[key]), tied, digests.tensors.get(key, "") if digests else ""))
        columns = (*_COLUMNS, Column(digests.algorithm if digests else "", "code"))
        return [Section("state_dict"), Table(columns, tuple(rows)).trimmed()] if rows else [Line("no such key", "bad")]

    def _total(self) -> list[Block]:
        header = self.header
        text = f"{len(header.tensors)} tensors, {count_text(header.numel)} elements, {byte_text(header.nbytes)}"
        shown = sum(1 for _ in self._keys())
        text += f", {len(header.aliases)} tied" if header.aliases else ""
        text += f", {len(header.opaque)} opaque" if header.opaque else ""
        return [Section(f"total: {text}" + (f" ({shown} shown)" if shown < len(header) else ""))]


def _cells(entry: Entry) -> tuple[str, str, str]:
    """Shape, dtype and size."""
    if isinstance(entry, TensorSpec):
        return f"[{', '.join(map(str, entry.shape))}]", entry.dtype.short, byte_text(entry.nbytes)
    return escape(str(entry)), "opaque", ""


def parameter_positions(header: Header) -> dict[str, int]:
    """Each parameter's place in `model.parameters()`, where the header tells; tied ones share the place of the first."""
    places: dict[str, int] = {}
    count = 0
    for key in header:
        if header.kinds.get(key) != "parameter":
            continue
        places[key] = places.get(header.canonical(key), count)
        count += places[key] == count
    return places
