"""A plan's recipes as byte ranges where bytes only move, as tensors where values change; one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.errors import LimitError, RulesError
from ckpt_surgeon.formats.protocol import Part, Reader
from ckpt_surgeon.keys.folding import listed
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.planning import Derived, Plan, Recipe, Source, sources_of
from ckpt_surgeon.spec import Opaque, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["PIECE_ELEMENTS", "Evaluator", "equal_pieces", "flat_bytes", "same_bytes"]

# Computed at once of a tensor whose elements are computed one by one: what stays in the cache, and is too little for torch to wake
# more threads for, which cost several times the work.
PIECE_ELEMENTS: Final = 32 * 1024


class Evaluator:
    """Turns recipes into bytes or tensors. `readers`: the alias in `Source.file` -> an open Reader (empty: the one source)."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._readers = readers
        self._last: tuple[Derived, tuple[torch.Tensor, ...]] | None = None
        self._given: set[int] = set()  # those outputs of the last op which a caller owns already
        self._intact: set[tuple[str, int]] = set()  # path and offset of the ranges whose checksums were compared

    def tensors(self, plan: Plan) -> Iterator[tuple[str, Any]]:
        """Each recipe's value, in plan order, ties not repeated; an opaque entry as the object which the reader gives."""
        for key, recipe in plan.recipes.items():
            if isinstance(recipe, Source) and isinstance(recipe.spec, Opaque):
                yield key, self._readers[recipe.file].read_opaque(recipe.key)
            else:
                yield key, self._own(recipe)

    def tensor(self, recipe: Recipe) -> torch.Tensor:
        """The value of a recipe, on the CPU. The outputs of one op are computed once when asked for one after the other."""
        if isinstance(recipe, Source):
            return self._readers[recipe.file].read(recipe.key)
        return self._outputs(recipe)[recipe.output]

    def _own(self, recipe: Recipe) -> torch.Tensor:
        """The value of a recipe with memory of its own, though another key has the same one (`copy`)."""
        tensor = self.tensor(recipe)
        if isinstance(recipe, Source):
            return tensor
        if recipe.output in self._given:
            return same_type(as_movable(tensor).clone(), tensor)
        self._given.add(recipe.output)
        return tensor

    def parts(self, recipe: Recipe) -> Iterable[Part]:
        """The bytes of a recipe, contiguous and little-endian: file ranges where they only move, else computed buffers."""
        if isinstance(recipe, Source):  # by far the most
            span = self._readers[recipe.file].span(recipe.key)
            if span is not None:
                return [span]
        found = self._in_pieces(recipe)
        return [_buffer(self.tensor(recipe))] if found is None else found

    def _in_pieces(self, recipe: Recipe) -> Iterable[Part] | None:
        """The bytes of a recipe where no more than a piece of any tensor has to be in memory for them; else None."""
        ranges = self.ranges(recipe)
        if ranges is not None or isinstance(recipe, Source) or not recipe.op.is_elementwise:
            return ranges
        inputs = [self._in_pieces(part) for part in recipe.inputs]
        known = [parts for parts in inputs if parts is not None]
        return _streamed(recipe, known) if len(known) == len(inputs) else None

    def ranges(self, recipe: Recipe) -> list[FileRange] | None:
        """The runs of source bytes, merged where they touch, of which the tensor consists; None where values are computed.

        A whole range of a file comes with its checksum. Raises CorruptError when a part is taken out of a damaged one.
        """
        if isinstance(recipe, Source):
            span = self._readers[recipe.file].span(recipe.key)
            return None if span is None else [span]
        specs = tuple(part.spec for part in recipe.inputs if isinstance(part.spec, TensorSpec))
        runs = recipe.op.spans(specs)
        if runs is None:
            return None
        inputs: dict[int, list[FileRange]] = {}
        for i in {run.input for run in runs[recipe.output]}:
            found = self.ranges(recipe.inputs[i])
            if found is None:
                return None
            inputs[i] = found
        return _merged(part for run in runs[recipe.output] for part in self._cut(inputs[run.input], run.offset, run.nbytes))

    def _cut(self, ranges: Sequence[FileRange], offset: int, nbytes: int) -> Iterator[FileRange]:
        """The `nbytes` bytes at `offset` of the bytes which the ranges make up together."""
        for each in ranges:
            if nbytes <= 0:
                return
            if offset >= each.nbytes:
                offset -= each.nbytes
                continue
            part = each.part(offset, min(nbytes, each.nbytes - offset))
            if part is not each:
                self._require_intact(each)
            yield part
            nbytes -= part.nbytes
            offset = 0

    def _require_intact(self, whole: FileRange) -> None:
        """Compare the checksum of a range of which only a part is to move; each range once."""
        place = whole.file.path, whole.offset
        if whole.crc is not None and place not in self._intact:
            for _ in pieces(whole):
                pass
            self._intact.add(place)

    def _outputs(self, recipe: Derived) -> tuple[torch.Tensor, ...]:
        if self._last is None or self._last[0].op is not recipe.op or self._last[0].inputs is not recipe.inputs:
            self._last = None  # lets go of the old outputs before the new ones are made
            self._given = set()
            self._last = (recipe, _applied(recipe, tuple(self.tensor(part) for part in recipe.inputs)))
        return self._last[1]


def _applied(recipe: Derived, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What the op makes of its inputs. What only their values tell (a result too large for its type) is told with their keys."""
    try:
        return recipe.op.apply(inputs)
    except RulesError as error:
        keys = listed([source.name for source in sources_of(recipe)])
        raise RulesError([replace(problem, what=f"{keys}: {problem.what}") for problem in error.problems]) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise LimitError(f"{recipe.op.name}: there is no memory for its result, {recipe.spec} or more") from error


def _streamed(recipe: Derived, inputs: Sequence[Iterable[Part]]) -> Iterator[Part]:
    """The output of an op which takes its elements one by one, a piece of all its inputs at a time."""
    import torch

    specs = [part.spec for part in recipe.inputs if isinstance(part.spec, TensorSpec)]  # nothing is computed of an opaque entry
    types = [getattr(torch, spec.dtype.name) for spec in specs]
    cut = [equal_pieces(parts, PIECE_ELEMENTS * spec.dtype.itemsize) for parts, spec in zip(inputs, specs, strict=True)]
    for together in zip(*cut, strict=True):
        given = tuple(torch.frombuffer(bytearray(piece), dtype=dtype) for piece, dtype in zip(together, types, strict=True))
        (output,) = _applied(recipe, given)
        yield _buffer(output)


def equal_pieces(parts: Iterable[Part], nbytes: int) -> Iterator[bytes]:
    """The bytes of parts in pieces of `nbytes`, the last one shorter, however the parts are cut."""
    rest = bytearray()
    for piece in _cut(parts, nbytes):
        if not rest and len(piece) == nbytes:
            yield piece
            continue
        rest += piece
        if len(rest) >= nbytes:
            yield bytes(rest[:nbytes])
            del rest[:nbytes]
    if rest:
        yield bytes(rest)


def _cut(parts: Iterable[Part], nbytes: int) -> Iterator[bytes]:
    """Each part in pieces of at most `nbytes`."""
    for part in parts:
        if isinstance(part, FileRange):
            yield from pieces(part, nbytes)
            continue
        view = memoryview(part)
        yield from (bytes(view[start : start + nbytes]) for start in range(0, len(view), nbytes))


def _buffer(tensor: torch.Tensor) -> memoryview:
    return memoryview(flat_bytes(tensor).numpy().data)


def _merged(ranges: Iterator[FileRange]) -> list[FileRange]:
    merged: list[FileRange] = []
    for each in ranges:
        last = merged[-1] if merged else None
        is_next = last is not None and last.file is each.file and last.offset + last.nbytes == each.offset
        if last is not None and is_next and last.crc is None and each.crc is None:
            merged[-1] = FileRange(last.file, last.offset, last.nbytes + each.nbytes)
        elif each.nbytes:
            merged.append(each)
    return merged


def flat_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's elements as they would stand in a file: u8[nbytes] on its own device, a view where it is contiguous already."""
    import torch

    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    # A lone element counts as contiguous whatever its stride, and then has no view as bytes.
    return plain.as_strided((plain.numel(),), (1,)).view(torch.uint8)


def same_bytes(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are the same bit for bit (NaN equals NaN, 0 does not equal -0), of one shape and dtype."""
    import torch

    if (first.shape, first.dtype) != (second.shape, second.dtype):
        return False
    return first is second or torch.equal(flat_bytes(first), flat_bytes(second))
