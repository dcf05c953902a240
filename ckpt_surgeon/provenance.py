"""A checkpoint held against its manifest: its keys, what they are, what their bytes come to; and made anew from its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import RulesError, refuse
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.manifests import read_lineage
from ckpt_surgeon.planning import Lineage, embedded_lineage, plan_digest, spec_text
from ckpt_surgeon.sources import Progress, open_source
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.formats.protocol import Reader

__all__ = ["Proof", "lineage", "verify_lineage"]

_NO_MANIFEST = (
    "give rules, or a manifest: `remap` writes it into safetensors where it changes keys, `remap --lineage` into a file of its own"
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proven of a checkpoint by its manifest.

    keys: how many it has, each of which is as the manifest says. digested: tensors whose digests were compared; made_anew: tensors which
    were made from the source and compared byte for byte; left_out: keys which could not be made, for want of the model.
    """

    lineage: Lineage
    keys: int
    digested: int = 0
    made_anew: int = 0
    left_out: tuple[str, ...] = ()


def lineage(path: Any, manifest: str | None = None) -> Lineage:
    """Where the keys of a checkpoint come from, as its manifest tells: that in its header, or the one in a file.

    path: whatever `open_source` takes. Raises RulesError where there is no manifest, CorruptError and LimitError for one which is not
    as it should be, and what opening raises.
    """
    with open_source(path) as reader:
        return _lineage(reader.header, path, manifest)


def verify_lineage(
    path: Any,
    manifest: str | None = None,
    *,
    source: Any = None,
    sources: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Prove that a checkpoint is what its manifest tells.

    Its keys, their shapes and dtypes must be those of the plan which it names; where the manifest has digests, its tensors are read
    and compared with them. source: the checkpoint which it was made from; each tensor is made from it anew, one at a time, and compared
    byte for byte. sources: alias -> another source, where it is made of several. progress: called with (bytes done, bytes in all) in
    each pass.

    Raises CoverageError for whatever is not so, and what `lineage` and reading raise.
    """
    with open_source(path) as reader:
        told = _lineage(reader.header, path, manifest)
        refuse(list(_differences(reader.header, told)), "the checkpoint is not what its manifest says")
        digested = _compare_digests(reader, told, progress)
        if source is None:
            return Proof(told, len(reader.header), digested)
        with ExitStack() as stack:
            given = {alias: stack.enter_context(open_source(each)) for alias, each in {"": source, **(sources or {})}.items()}
            made, left_out = _compare_made(reader, given, told, progress)
        return Proof(told, len(reader.header), digested, made, left_out)


def _lineage(header: Header, path: Any, manifest: str | None) -> Lineage:
    found = embedded_lineage(header) if manifest is None else read_lineage(manifest)
    if found is None:
        raise RulesError("it carries no manifest", where=str(path) if isinstance(path, str) else "", hint=_NO_MANIFEST)
    return found


def _differences(header: Header, told: Lineage) -> Iterator[str]:
    """What of a header is not as its manifest says; the plan's digest finds what no name can be given to."""
    wrong = [*_misnamed(header, told)]
    yield from wrong
    if len(header) != told.targets:
        yield f"it has {len(header)} keys, {told.targets} are told of"
    elif not wrong and plan_digest(header, told.rows(header)) != told.plan:
        yield f"its keys, shapes and dtypes, and where they are said to come from, are not those of the plan {told.plan[:12]}"


def _misnamed(header: Header, told: Lineage) -> Iterator[str]:
    named = {**told.keys, **(told.tensors or {})}
    yield from (f"{escape(key)} is not there" for key in named if key not in header.entries)
    for key, text in (told.tensors or {}).items():
        if key in header.entries and spec_text(header.entries[key]) != text:
            yield f"{escape(key)} is {spec_text(header.entries[key])}, told is {escape(text)}"


def _compare_digests(reader: Reader, told: Lineage, progress: Progress | None) -> int:
    """The number of tensors whose digests are those of the manifest; 0 where it has none."""
    if told.digests is None:
        return 0
    from ckpt_surgeon.digests import digests_of

    found = digests_of(reader, told.digests.algorithm, progress)
    keys = {**told.digests.tensors, **found.tensors}
    wrong = [escape(key) for key in keys if told.digests.tensors.get(key) != found.tensors.get(key)]
    refuse(wrong, "these tensors have other digests than the manifest says")
    refuse([] if found.whole == told.digests.whole else ["the whole"], "other than the manifest says is the digest of")
    return len(found.tensors)


def _compare_made(reader: Reader, given: Mapping[str, Reader], told: Lineage, progress: Progress | None) -> tuple[int, tuple[str, ...]]:
    """How many tensors were made from the sources and found the same; and the keys which cannot be made from them alone."""
    from ckpt_surgeon.evaluation import Evaluator, same_bytes
    from ckpt_surgeon.planning.replaying import needs_model, recipe_of

    header, evaluator = reader.header, Evaluator(given)
    keys = [key for key in header.tensors if key not in header.aliases]
    left_out = tuple(key for key in keys if needs_model(told.origin(key)))
    headers = {alias: each.header for alias, each in given.items()}
    nbytes = header.nbytes + sum(each.nbytes for each in headers.values())
    recipes = {key: recipe_of(told.origin(key), headers, nbytes) for key in keys if key not in set(left_out)}
    wrong = [escape(key) for key, recipe in recipes.items() if recipe.spec != header.entries[key]]
    refuse(wrong, "these tensors are not of the shape or dtype which their manifest makes of the source")
    done = 0
    for key, recipe in recipes.items():
        if not same_bytes(reader.read(key), evaluator.tensor(recipe)):
            wrong.append(escape(key))
        done += header.tensors[key].nbytes
        if progress is not None:
            progress(done, header.nbytes)
    refuse(wrong, "these tensors are not what their manifest makes of the source")
    return len(recipes), left_out
