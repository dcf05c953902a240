"""What became of an in-place edit which was cut short, as a report."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.publishing import Recovery
from ckpt_surgeon.report.page import SCHEMA_VERSION, Document, Line, Page

__all__ = ["RecoveryReport"]

_TEXTS: Final = MappingProxyType(
    {
        "nothing": "no edit of it was cut short: nothing was changed",
        "finished": "all of the edit was there: it is finished",
        "undone": "the edit is undone: the file is as it was before",
    }
)


@dataclass(frozen=True)
class RecoveryReport:
    """`recovery`: what was done to the file at `path`."""

    path: str
    recovery: Recovery

    def page(self) -> Page:
        """The one line."""
        return Page.of(f"recover {escape(self.path)}", [Line(f"{escape(self.path)}: {_TEXTS[self.recovery]}", "good")])

    def document(self) -> Document:
        """The JSON document `recovery`."""
        return {"schema_version": SCHEMA_VERSION, "document": "recovery", "path": self.path, "recovery": self.recovery}
