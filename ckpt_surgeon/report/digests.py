"""Digests in reports: the whole's in a line, each tensor's in a table or a column, all of them as a JSON value."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.report.amounts import keys_text
from ckpt_surgeon.report.page import Block, Column, Document, Line, Section, Table

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Digests

__all__ = ["digest_line", "digest_section", "digests_document"]


def digests_document(digests: Digests | None, shown: Collection[str] | None = None) -> Document | None:
    """`{"algorithm": "sha256", "whole": "...", "tensors": {...}}`, of the tensors those which are shown (None: all)."""
    if digests is None:
        return None
    tensors = {key: digest for key, digest in digests.tensors.items() if shown is None or key in shown}
    return {"algorithm": digests.algorithm, "whole": digests.whole, "tensors": tensors}


def digest_line(digests: Digests | None, left_out: int = 0) -> list[Block]:
    """`digest: sha256:4685...`; left_out: the number of entries which it does not cover."""
    if digests is None:
        return []
    return [Line(f"digest: {digests.algorithm}:{digests.whole}" + (f" (without {left_out} opaque)" if left_out else ""))]


def digest_section(digests: Digests | None) -> list[Block]:
    """Each tensor's digest in its own row."""
    if digests is None or not digests.tensors:
        return []
    rows = tuple((escape(key), digest) for key, digest in digests.tensors.items())
    return [Section(f"digests: {keys_text(len(rows))}"), Table((Column("key", "code"), Column(digests.algorithm, "code")), rows)]
