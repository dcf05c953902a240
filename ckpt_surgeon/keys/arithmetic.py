"""`{i+1}`, `{i//2}`, `{a*2+b}`: whole-number arithmetic on captures. Nothing but + - * // % and parentheses."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Expression", "parse_expression"]

_MAX_LENGTH = 64  # characters; keeps the depth of nesting and the size of products small
_MAX_DIGITS = 18  # of a number: what an int64 surely holds
_TOKENS = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*+|[0-9]++(?![A-Za-z_])|//|[+\-*/%() ])++")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ALLOWED = "Allowed: {name}, and + - * // % with whole numbers and parentheses, as in {i+1} or {a*2+b}."


@dataclass(frozen=True, slots=True)
class Expression:
    """What stands between braces in a template. `tree` is None for a bare name, which is put back as written."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr | None

    @property
    def counts(self) -> bool:
        """Whether it does arithmetic."""
        return self.tree is not None

    def value(self, captures: Mapping[str, str]) -> str:
        """Raises RulesError: a name not captured, no number, a division by zero, a negative result."""
        if self.tree is None and self.text in captures:
            return captures[self.text]
        lacking = [name for name in self.names if name not in captures]
        if lacking or self.tree is None:
            raise RulesError(f"{{{self.text}}}: {lacking[0]!r} is not captured", hint=f"Captured: {', '.join(captures) or 'nothing'}.")
        try:
            number = _value(self.tree, {name: _number(name, captures[name]) for name in self.names})
        except ZeroDivisionError:
            raise RulesError(f"{{{self.text}}} divides by zero for {self._given(captures)}") from None
        except RulesError as error:
            raise RulesError(f"{{{self.text}}}: {error.problems[0].what}", hint=error.hint) from None
        if number < 0:
            raise RulesError(f"{{{self.text}}} is {number} for {self._given(captures)}; an index is never negative")
        return str(number)

    def _given(self, captures: Mapping[str, str]) -> str:
        return ", ".join(f"{name} = {captures[name]}" for name in self.names) or "any key"


def parse_expression(text: str) -> Expression:
    """A name, or arithmetic on names. Raises RulesError, without a place, for anything else."""
    if _NAME.fullmatch(text):
        return Expression(text, (text,), None)
    if len(text) > _MAX_LENGTH or not _TOKENS.fullmatch(text):
        raise RulesError(f"{{{escape(text)}}} is neither a name nor arithmetic", hint=_ALLOWED)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise RulesError(f"{{{text}}} is neither a name nor arithmetic", hint=_ALLOWED) from None
    return Expression(text, tuple(dict.fromkeys(_names(tree, text))), tree)


def _names(tree: ast.expr, text: str) -> list[str]:
    """The names in a tree of allowed nodes, in the order written."""
    if isinstance(tree, ast.Name):
        return [tree.id]
    if isinstance(tree, ast.Constant) and type(tree.value) is int and len(str(tree.value)) <= _MAX_DIGITS:
        return []
    if isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATORS:
        return _names(tree.left, text) + _names(tree.right, text)
    raise RulesError(f"{{{text}}}: {ast.unparse(tree)!r} is not allowed in a target", hint=_ALLOWED)


def _value(tree: ast.expr, numbers: Mapping[str, int]) -> int:
    if isinstance(tree, ast.BinOp):
        return _OPERATORS[type(tree.op)](_value(tree.left, numbers), _value(tree.right, numbers))
    return numbers[tree.id] if isinstance(tree, ast.Name) else int(ast.literal_eval(tree))


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise RulesError(f"{name!r} is '{escape(text)}', no number", hint=f"Capture it as {{{name}:int}} to count with it.")
    if len(text) > _MAX_DIGITS:
        raise RulesError(f"{name!r} is {escape(text)}, a number of more than {_MAX_DIGITS} digits")
    return int(text)
