"""A plan into a file: open what it was made from, move bytes where they only move, compute the rest, publish the whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.disk import PAGE_BYTES
from ckpt_surgeon.errors import CorruptError, CoverageError, Problem, SurgeryError
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.formats.protocol import Keep, Part, Reader
from ckpt_surgeon.garbage import uncollected
from ckpt_surgeon.keeping import differences, kept, optimizer_differences
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.manifests import manifest_of, manifest_path
from ckpt_surgeon.planning import Plan, Recipe, make_plan
from ckpt_surgeon.publishing import publish_file, publish_folder
from ckpt_surgeon.readers import open_readers
from ckpt_surgeon.sources import Progress, split_table
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

if TYPE_CHECKING:
    from ckpt_surgeon.digests import Digester
    from ckpt_surgeon.guarding import Watch

__all__ = ["write"]


def write(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    to: str | None = None,
    max_shard_size: int | None = None,
    force: bool = False,
    bare: bool = False,
    check: bool = False,
    check_roundtrip: bool = False,
    digest: str | None = None,
    lineage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    reader: Reader | None = None,
) -> Outcome:
    """Write the checkpoint which a plan describes; the destination is the old one, or the complete new one.

    to: `safetensors`, `torch` or `sharded` (default: by the suffix of `out`). max_shard_size: bytes; a larger
    safetensors output becomes a folder of shards. force: replace what stands at `out`. bare: leave the envelope behind.
    check: compare the checksums, too, of what moves from `.pt` to `.pt` together with them.
    check_roundtrip: take the output back by the inverse rules, in memory, and compare it with the source bit for bit.
    digest: `sha256` or `blake3`: take digests of the tensors while they are written; see `Outcome.digests`.
    lineage: write the manifest, and in it these digests, to a file as well: a path, or `auto` for OUT.lineage.json.
    progress: called with (bytes done, bytes in all). reader: the source, where it is open already. The output is opened
    again and compared with the plan before it takes its name.

    Raises DiskError, CoverageError (an entry which the format cannot hold, a guard on values which does not hold), and the errors of
    the source's format; InverseError where the way back is asked for and there is none; SurgeryError for a digest which is unknown or
    not installed.
    """
    from ckpt_surgeon.formats.creating import format_of

    destination = os.fspath(out)
    form = format_of(destination, to)
    if form == "safetensors" and max_shard_size is not None and plan.header.nbytes > max_shard_size:
        form = "sharded"
    digester = _digester(digest)
    back = _way_back(plan) if check_roundtrip else None
    header = plan.header if form == "torch" else _without_envelope(plan, bare)
    beside = manifest_path(lineage, destination)
    watch = _watch(plan)
    with uncollected(), open_readers(plan, reader) as readers:
        manifest = manifest_of(plan, header, beside, has_metadata=form != "torch")
        header = replace(header, metadata={**header.metadata, **manifest.texts})
        evaluator = Evaluator(readers)
        offsets = {} if form == "torch" else _offsets(plan, evaluator)
        keep = replace(kept(plan, None if bare or form != "torch" else readers[""]), checks=check, offsets=offsets)
        output = _Output(destination, form, header, keep, max_shard_size, digester, watch)
        publish = publish_folder if form == "sharded" else publish_file
        to_publish: dict[str, Any] = {"force": force, "sources": _files(plan.given_source, *plan.given_others.values())}
        with manifest.publishing(**to_publish) as write_manifest, publish(destination, **to_publish) as temporary:
            output.fill(temporary, plan, evaluator, progress)
            if watch is not None:
                watch.finish(evaluator)
            output.read_back(temporary, back, readers[""])
            digests = digester.digests(plan.header) if digester else None
            write_manifest(plan.header, digests)
    left = tuple(_beside(plan)) if bare else ()
    notes = (*plan.notes, *manifest.notes, *_notes(plan, left, digest, back))
    return replace(plan.outcome, left_behind=left, notes=notes, digests=digests)


def _digester(algorithm: str | None) -> Digester | None:
    if algorithm is None:
        return None
    from ckpt_surgeon.digests import Digester

    return Digester(algorithm)


def _watch(plan: Plan) -> Watch | None:
    if not plan.guards:
        return None
    from ckpt_surgeon.guarding import Watch

    return Watch(plan)


def _way_back(plan: Plan) -> Plan:
    """What takes the output of a plan back to its source."""
    from ckpt_surgeon.inversion import invert_plan

    return make_plan(invert_plan(plan), plan.header, None)


def _notes(plan: Plan, left: tuple[str, ...], digest: str | None, back: Plan | None) -> Iterator[str]:
    """What was left behind, what no digest covers, and that the way back was tried."""
    if back is not None:
        yield f"there and back: all {len(plan.source.tensors)} tensors of the source come back bit for bit"
    if left:
        yield f"left behind: {', '.join(map(escape, left))}"
    if digest is not None and plan.header.opaque:
        yield f"no part of the digest, since they are no plain tensors: {', '.join(map(escape, plan.header.opaque))}"


def _without_envelope(plan: Plan, bare: bool) -> Header:
    """The header of an output which holds tensors and text only; scalars of the envelope become text.

    Raises CoverageError naming what would be lost, unless `bare` says that it may.
    """
    if bare:
        return plan.header
    lost = _lost(plan)
    if lost:
        hint = "write .pt to keep it, or say --bare to leave it behind (--optimizer drop: the optimizer's state alone)"
        raise CoverageError(f"safetensors would lose what stands around the weights: {', '.join(map(escape, lost))}", hint=hint)
    return replace(plan.header, metadata={**_texts(plan), **plan.header.metadata})


def _texts(plan: Plan) -> dict[str, str]:
    """The scalars of the envelope which can stand in the text metadata: those whose names mean nothing else there."""
    taken = plan.header.metadata
    return {
        name: text
        for name, text in plan.source.envelope.scalars.items()
        if name not in taken and name != "format" and not name.startswith("ckpt_surgeon.")
    }


def _lost(plan: Plan) -> list[str]:
    """What of the envelope tensors and text cannot hold; optimizer state which is dropped anyway is not lost here."""
    gone = set(_texts(plan)) | (set() if plan.keeps_optimizer else set(plan.source.envelope.optimizers))
    return [f"{name} ({text})" for name, text in _beside(plan).items() if name not in gone]


def _beside(plan: Plan) -> dict[str, str]:
    """All that stands around the weights, by its path, in short words: nothing stands in two places."""
    envelope = plan.source.envelope
    inner = {table.path: f"a table of {table.tensors} tensors" for table in envelope.tables if table.path != envelope.path}
    inner |= dict.fromkeys(envelope.optimizers, "optimizer state")
    return {**envelope.contents, **{path: text for path, text in inner.items() if path.partition(".")[0] not in envelope.contents}}


def _offsets(plan: Plan, evaluator: Evaluator) -> dict[str, int]:
    """Where the bytes of each tensor of a page or more which only moves lie now; of several runs the first counts."""
    large = {key: each for key, each in plan.recipes.items() if isinstance(each.spec, TensorSpec) and each.spec.nbytes >= PAGE_BYTES}
    ranges = {key: evaluator.ranges(recipe) for key, recipe in large.items()}
    return {key: found[0].offset for key, found in ranges.items() if found}


def _files(*given: Any) -> list[str]:
    return [split_table(os.fspath(each))[0] for each in given if isinstance(each, str | os.PathLike)]


@dataclass(frozen=True, slots=True)
class _Output:
    """What is to stand at a destination: its format, its header, what is kept of the source, what takes digests and looks at it."""

    destination: str
    form: str
    header: Header
    keep: Keep
    max_shard_size: int | None
    digester: Digester | None
    watch: Watch | None

    def fill(self, path: str, plan: Plan, evaluator: Evaluator, progress: Progress | None) -> None:
        """Write every tensor of the plan to a new file (or folder) at `path`."""
        from ckpt_surgeon.formats.creating import create_writer

        writer = create_writer(path, self.form, self.header, self.keep, self.max_shard_size)
        done, total = 0, plan.header.nbytes + sum(spec.nbytes for spec in self.keep.made.values())
        try:
            for key, recipe in self._recipes(plan).items():
                if isinstance(recipe.spec, Opaque):
                    continue
                parts = evaluator.parts(recipe)
                try:
                    writer.write(key, self._passing(key, parts) if key in plan.recipes else parts)
                except CorruptError as error:
                    raise _read_for(key, error) from error
                done += recipe.spec.nbytes
                if progress is not None:
                    progress(done, total)
            writer.close()
        except BaseException:
            writer.abort()
            raise

    def _passing(self, key: str, parts: Iterable[Part]) -> Iterable[Part]:
        """The bytes of a tensor, past those who look at them."""
        for each in (self.watch, self.digester):
            parts = parts if each is None else each.passing(key, parts)
        return parts

    def _recipes(self, plan: Plan) -> dict[str, Recipe]:
        """All which is written: the tensors, then those which the optimizers hold, as far as they are made anew."""
        return {**plan.recipes, **(plan.optimizer.recipes if self.keep.made else {})}

    def read_back(self, path: str, back: Plan | None, source: Reader) -> None:
        """Open the output again: its header must be the plan's; and, by the plan `back`, its tensors must come back to the source's."""
        from ckpt_surgeon.formats.opening import open_checkpoint

        keeps_envelope = self.form == "torch" and self.keep.reader is not None
        with open_checkpoint(path, self.header.envelope.path or None if keeps_envelope else None, unfinished=True) as reader:
            wrong = differences(reader.header, self.header)
            wrong += _optimizer_differences(reader, self.keep) if self.keep.optimizers else []
            if back is not None and not wrong:
                from ckpt_surgeon.roundtrip import check_way_back

                check_way_back(back, reader, source)
        if wrong:
            raise SurgeryError(Problem(f"the output does not read back as planned: {each}") for each in wrong)


def _read_for(key: str, error: CorruptError) -> CorruptError:
    """The error about damaged bytes, which says for which key of the output they were read."""
    return CorruptError(replace(each, what=f"{each.what} (read for {escape(key)})") for each in error.problems)


def _optimizer_differences(reader: Reader, keep: Keep) -> list[str]:
    from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint

    assert isinstance(reader, TorchCheckpoint)  # no other format holds optimizers
    return optimizer_differences(reader.optimizer_states(), keep)
