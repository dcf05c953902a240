"""A mapping of two headers with all the evidence which was asked for: values, then runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping import links
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.model import initial_tensors
from ckpt_surgeon.probing.checking import checked
from ckpt_surgeon.probing.probe import Probe, Probing
from ckpt_surgeon.probing.values import valued
from ckpt_surgeon.sources import Progress, is_factory, open_source, require_values
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.formats.protocol import Reader

__all__ = ["Examined", "examined"]


@dataclass(frozen=True, slots=True)
class Examined:
    """A mapping, and what values and runs of both models say of the whole, in sentences.

    is_confirmed: whether both models' outputs are equal; None where they were not run, or new parts keep them from being compared.
    """

    mapping: links.Mapping
    remarks: tuple[str, ...]
    is_confirmed: bool | None = None


def examined(
    source: Any,
    target: Any,
    headers: tuple[Header, Header],
    least: float,
    *,
    probe: Probe | None = None,
    values: bool = False,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Examined:
    """Match SOURCE with TARGET, and settle what is less sure than `least`, by values and by a probe, as far as either is wanted.

    Raises ModelError where values or code are wanted and not there, and what reading raises.
    """
    given = dict(arguments or {})
    probing = None if probe is None else Probing(probe, source, target, headers, given)
    mapping = match(*headers) if probing is None else probing.matched()
    remarks: list[str] = []
    if values:
        with open_source(source, progress=progress) as reader, _target_reader(target, headers[1], given, progress) as wanted:
            require_values(reader, "source")
            found = checked(valued(mapping, reader, wanted, least), reader, wanted, least)
            mapping, remarks = found.mapping, [found.remark] if found.remark else []
    if probing is None:
        return Examined(mapping, tuple(remarks))
    probed = probing.probed(mapping, least)
    return Examined(probed.mapping, (*remarks, probed.remark), probed.is_confirmed)


def _target_reader(target: Any, header: Header, arguments: Mapping[str, Any], progress: Progress | None) -> Reader:
    """The target's values; of a factory those with which it is built."""
    if isinstance(target, str | os.PathLike) and is_factory(os.fspath(target)):
        return initial_tensors(os.fspath(target), 0, header.tensors, arguments=arguments)
    reader = open_source(target, arguments=arguments, progress=progress)
    require_values(reader, "target")
    return reader
