"""The name of a factory, `pkg.module:factory`, told from the name of a file without importing what builds models."""

from __future__ import annotations

import re

__all__ = ["is_spec", "spec_parts"]

_SPEC = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")


def is_spec(text: str) -> bool:
    """Whether `text` has the form `pkg.module:factory`; whether there is such a module shows when it is built."""
    return spec_parts(text) is not None


def spec_parts(text: str) -> tuple[str, str] | None:
    """`pkg.module:net.factory` -> its two halves; None for a text of another form."""
    match = _SPEC.fullmatch(text)
    return None if match is None else (match[1], match[2])
