"""What is left over on both sides and could belong together: a question, for nobody decided that it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckpt_surgeon.mapping.writing.asking import folded
from ckpt_surgeon.mapping.writing.suggestion import Answer, Question
from ckpt_surgeon.spec import Entry, Header, TensorSpec

__all__ = ["left_over"]

_Form = tuple[int, ...]
_STACKED = 3  # dims of experts in one tensor, each of which may as well be a matrix of its own
_VECTORS = 2  # of one shape by chance there is one in most models: a new bias as long as some other


def left_over(missing: Sequence[str], unused: Sequence[str], source: Header, target: Header, *, is_empty: bool) -> Question | None:
    """The target keys which nothing fills though keys of the source which nothing takes have their shapes, as one question.

    is_empty: nothing was matched; then all that is missing is asked about, whatever the shapes.
    """
    free: dict[_Form, list[str]] = {}
    for key in unused:
        for form in _forms(source.entries[key]):
            free.setdefault(form, []).append(key)
    alike = {key: forms for key in missing if (forms := [form for form in _forms(target.entries[key]) if form in free])}
    if sum(len(_sizes(target.entries[key])) == 1 for key in alike) < _VECTORS:
        alike = {key: forms for key, forms in alike.items() if len(_sizes(target.entries[key])) > 1}
    asked = missing if is_empty else tuple(alike)
    if not asked or not unused:
        return None
    shared = dict.fromkeys(form for forms in alike.values() for form in forms)
    sources = dict.fromkeys(key for form in shared for key in free[form])
    doubt = "not one key of the source is matched"
    if sources:
        doubt = f"left out of the source, and of the same shapes: {folded(list(sources))}"
    return Question(tuple(asked), doubt, (Answer((), (), 0.5),))


def _forms(entry: Entry) -> Iterator[_Form]:
    """The sizes which are more than 1, in any order; of a stack of matrices also those of one of them."""
    sizes = _sizes(entry)
    if sizes:
        yield tuple(sorted(sizes))
    if len(sizes) == _STACKED and isinstance(entry, TensorSpec) and len(entry.shape) == _STACKED:
        yield tuple(sorted(sizes[1:]))


def _sizes(entry: Entry) -> list[int]:
    return [size for size in entry.shape if size != 1] if isinstance(entry, TensorSpec) else []
