"""head: a classifier's last layer for other classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, one_of
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.labels import rows_by_label, rows_by_number
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Run, TensorOp
from ckpt_surgeon.ops.rows import check_new_rows, drawing, refuse_new_rows, row_runs, taken_rows
from ckpt_surgeon.ops.shaping import bounded, dim_within, one_input, target_size
from ckpt_surgeon.ops.splitting import Concat
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["AdaptHead"]

_MODES = ("slice", "grow", "map")


@dataclass(frozen=True, slots=True)
class AdaptHead(TensorDefaults):
    """Give a head's weight `[classes, ...]` or bias `[classes]` rows for other classes; rows which are kept stay bit for bit.

    - `slice`: the first `classes` rows, or those listed in `rows`.
    - `grow`: all rows, and new ones behind them up to `classes`.
    - `map`: for each new class the row of an old one, or a new row. Which, is said by one of `rows` (a list with an old row for
      each new one, or None), `map` (`{NEW: OLD}`), and the names of the classes, source_labels and target_labels: a list, or in
      a rules file the name of a file with a label on each line. Without labels `classes` may add new rows behind the mapped ones.

    classes: a number, or `target`. unmapped: what new rows hold, `zero`, `mean` or `normal` (with `seed`), as in resize_vocab.
    anchors: the rows are so many blocks, one after the other, each of all classes (row `anchor * classes + class`); each block
    is treated alone. source_classes: how many classes there have to be in the source; with labels, as many as are named.

    >>> op = AdaptHead("map", source_labels=("cat", "dog", "cow"), target_labels=("dog", "fox"))
    >>> print(op.rows, *op.infer((TensorSpec.of("float32", 3, 2048),)))
    (1, None) f32[2, 2048]
    """

    name: ClassVar[str] = "head"
    body: ClassVar[Body] = Body(files=("source_labels", "target_labels"))
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    mode: Literal["slice", "grow", "map"]
    classes: int | Literal["target"] | None = None
    rows: tuple[int | None, ...] | None = None
    map: Mapping[str, int] | None = None
    source_labels: str | tuple[str, ...] | None = None
    target_labels: str | tuple[str, ...] | None = None
    source_classes: int | None = None
    unmapped: Literal["zero", "mean", "normal"] = "zero"
    seed: int = 0
    anchors: int = 1
    dim: int = 0

    def __post_init__(self) -> None:
        one_of(self.mode, _MODES, "head: mode")
        integer(self.dim, "head: dim")
        check_new_rows(self.unmapped, self.seed, "head", "unmapped")
        for word in ("anchors", "source_classes", "classes"):
            value = getattr(self, word)
            if value is not None and (word, value) != ("classes", "target") and integer(value, f"head: {word}") < 1:
                raise RulesError(f"head: {word} is {value}; 1 or more is wanted")
        self._check_ways()
        self._resolve()

    def _check_ways(self) -> None:
        """What a mode wants, and which of the ways to say it is given."""
        has_labels = self.source_labels is not None or self.target_labels is not None
        ways = {"rows": self.rows is not None, "map": self.map is not None, "source_labels and target_labels": has_labels}
        given = [way for way, is_given in ways.items() if is_given]
        allowed = {"slice": ["rows"], "grow": [], "map": list(ways)}[self.mode]
        wrong = next((way for way in given if way not in allowed), None)
        if wrong is not None:
            raise RulesError(f"head: mode {self.mode} takes no {wrong}", hint="`map` does.")
        if len(given) > 1 or (self.mode == "map" and not given):
            raise RulesError(f"head: mode map wants one of {'; '.join(ways)}; found {' and '.join(given) or 'none'}")
        if has_labels and (self.source_labels is None or self.target_labels is None):
            raise RulesError("head: source_labels and target_labels go together: one of them is missing")
        if self.mode != "map" and (self.classes is None) == (not given):
            raise RulesError(f"head: mode {self.mode} wants {'classes or rows, one of them' if allowed else 'classes'}")

    def _resolve(self) -> None:
        """Whatever says which rows are taken, as `rows`."""
        if self.map is not None:
            assign(self, rows=rows_by_number(self.map), map=None)
        if self.source_labels is not None:
            rows, count = rows_by_label(self.source_labels, self.target_labels)
            self._require("classes", len(rows), "target_labels")
            self._require("source_classes", count, "source_labels")
            assign(self, rows=rows, classes=len(rows), source_classes=count, source_labels=None, target_labels=None)
        if self.rows is None:
            return
        if not isinstance(self.rows, list | tuple) or not self.rows:
            raise RulesError(f"head: rows is {self.rows!r}; a list is wanted, such as [2, null, 0]")
        assign(self, rows=tuple(self.rows))
        if any(row is not None and integer(row, "head: rows") < 0 for row in self.rows):
            raise RulesError("head: rows holds a negative number; they count from 0")
        if self.mode == "slice" and None in self.rows:
            raise RulesError("head: mode slice makes no new rows", hint="`map` does.")

    def _require(self, word: str, count: int, labels: str) -> None:
        if getattr(self, word) not in (None, "target", count):
            raise RulesError(f"head: {word} is {getattr(self, word)}, and {labels} names {count}")

    @property
    def needs_target(self) -> bool:
        """Whether the number of classes is the target's."""
        return self.classes == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> AdaptHead:
        """With the target's number of classes, if it is to be that."""
        if self.classes != "target":
            return self
        if targets is None:
            raise RulesError("head: classes is the target's, and there is none", hint="Give a target, or a number.")
        size = target_size(one_input(targets, self.name), self.dim, self.name)
        return replace(self, classes=self._per_anchor(size, self.dim, f"the target's {targets[0]}"))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the new number of classes."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        old = self._per_anchor(spec.shape[dim], dim, spec)
        wanted = self._wanted()
        self._check_sizes(old, wanted, f"head: dim {dim} of {spec} has {old} classes")
        if self._makes_new(old, wanted):
            refuse_new_rows(spec, self.unmapped, old, self.name)
        return (bounded((*spec.shape[:dim], wanted * self.anchors, *spec.shape[dim + 1 :]), spec.dtype, self.name),)

    def _per_anchor(self, size: int, dim: int, of: object) -> int:
        if size % self.anchors:
            raise RulesError(f"head: dim {dim} of {of} has size {size}, which does not divide by {self.anchors} anchors")
        return size // self.anchors

    def _wanted(self) -> int:
        if self.classes == "target":
            raise RulesError("head: classes is the target's, and there is none", hint="Give a target, or a number.")
        return self.classes or len(self.rows or ())

    def _check_sizes(self, old: int, wanted: int, of: str) -> None:
        if self.source_classes not in (None, old):
            raise RulesError(f"{of}, not {self.source_classes}", hint="Is there a class for the background? `anchors`, if it is in blocks.")
        if self.mode == "grow" and wanted < old:
            raise RulesError(f"{of}, more than {wanted}", hint="`slice` takes the first ones, `map` says which.")
        if self.mode == "slice" and wanted > old:
            raise RulesError(f"{of}, fewer than {wanted}", hint="`grow` adds new ones.")
        if len(self.rows or ()) > wanted:
            raise RulesError(f"{of}; {len(self.rows or ())} rows are given for {wanted} new ones")
        beyond = next((row for row in self.rows or () if row is not None and row >= old), None)
        if beyond is not None:
            raise RulesError(f"{of}, so none is number {beyond}", hint=f"Rows which fit: 0..{old - 1}." if old else "")

    def _makes_new(self, old: int, wanted: int) -> bool:
        return wanted > old if self.rows is None else wanted > len(self.rows) or None in self.rows

    def _taken(self, old: int) -> tuple[int | None, ...]:
        """For each new class the old one, or None."""
        wanted = self._wanted()
        known = self.rows if self.rows is not None else range(min(old, wanted))
        return (*known, *(None for _ in range(wanted - len(known))))

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The rows in their new places, and new ones between them."""
        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        old, generator = tensor.shape[dim] // self.anchors, drawing(self.seed)
        blocks = [tensor.narrow(dim, anchor * old, old) for anchor in range(self.anchors)]
        made = [taken_rows(block, dim, self._taken(old), self.unmapped, generator, self.name) for block in blocks]
        return Concat(dim).apply(tuple(made)) if len(made) > 1 else (made[0],)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The kept rows, when none is new and no dim larger than 1 stands before."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        old = spec.shape[dim] // self.anchors
        runs = None if self._makes_new(old, self._wanted()) else row_runs(spec, dim, self._taken(old), self.anchors)
        return None if runs is None else (runs,)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The map back, when every old row was kept."""
        spec = one_input(specs, self.name)
        old = spec.shape[dim_within(self.dim, len(spec.shape), self.name, spec)] // self.anchors
        back = {row: i for i, row in enumerate(self._taken(old))}
        if not old or any(row not in back for row in range(old)):
            return None
        return AdaptHead("map", rows=tuple(back[row] for row in range(old)), anchors=self.anchors, dim=self.dim)
