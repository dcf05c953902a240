"""unflatten: names of modules in which underscores took the place of dots, as the target has them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, texts
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body, Edit, Move
from ckpt_surgeon.ops.selection import MOST_PROBLEMS

__all__ = ["Unflatten"]

_FLAT = "_"


@dataclass(frozen=True, slots=True)
class Unflatten(NameDefaults):
    """Give a flat name its dots back: `lora_unet_mid_block_proj_in.alpha` -> `mid_block.proj_in.alpha`, where the target has that module.

    A key whose first segment starts with one of the prefixes takes, for the rest of that segment, the path of the target's module which
    is the same but for underscores in place of dots. One without such a module is left alone.

    prefixes: plain texts, tried in order; `lora_unet_` and the like.
    Source: kohya-ss/sd-scripts, `networks/lora.py`: `lora_name.replace(".", "_")`.

    >>> op = Unflatten("lora_unet_")
    >>> op.edits(["lora_unet_mid_block_proj_in.alpha"], {"mid_block.proj_in.weight"})
    [Move(source='lora_unet_mid_block_proj_in.alpha', target='mid_block.proj_in.alpha')]
    """

    name: ClassVar[str] = "unflatten"
    body: ClassVar[Body] = Body("prefixes")
    needs_target: ClassVar[bool] = True

    prefixes: str | tuple[str, ...]

    def __post_init__(self) -> None:
        assign(self, prefixes=texts(self.prefixes, "unflatten: prefixes"))
        wrong = next((prefix for prefix in self.prefixes if "." in prefix), None)
        if wrong is not None:
            raise RulesError(f"unflatten: the prefix {wrong!r} has a dot", hint="It is the start of a first segment: `lora_unet_`.")

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each key with one module; RulesError names those with several."""
        if target is None:
            raise RulesError("unflatten needs a target: its modules tell where dots belong", hint="Give a target.")
        flat = {key: name for key in keys if (name := self._flat(key.partition(".")[0])) is not None}
        modules = _modules(target, set(flat.values()))
        _refuse_several(flat, modules)
        found = {key: (modules.get(name) or [""])[0] for key, name in flat.items()}
        return [Move(key, module + key[len(key.partition(".")[0]) :]) for key, module in found.items() if module]

    def _flat(self, segment: str) -> str | None:
        """A first segment without its prefix; None where it has none."""
        return next((segment.removeprefix(prefix) for prefix in self.prefixes if segment.startswith(prefix)), None)


def _modules(target: Iterable[str], wanted: Collection[str]) -> dict[str, list[str]]:
    """The paths of the target's modules by their flat names, of those which are wanted."""
    found: dict[str, dict[str, None]] = {}
    seen: set[str] = set()
    for key in target:
        path = key.rpartition(".")[0]
        while path and path not in seen:
            seen.add(path)
            name = path.replace(".", _FLAT)
            if name in wanted:
                found.setdefault(name, {})[path] = None
            path = path.rpartition(".")[0]
    return {name: list(paths) for name, paths in found.items()}


def _refuse_several(flat: dict[str, str], modules: dict[str, list[str]]) -> None:
    problems = [
        Problem(f"unflatten: {escape(key)} could be of several modules: {', '.join(map(escape, modules[name]))}", hint="Rename it first.")
        for key, name in flat.items()
        if len(modules.get(name, ())) > 1
    ]
    if problems:
        raise RulesError(problems[:MOST_PROBLEMS])
