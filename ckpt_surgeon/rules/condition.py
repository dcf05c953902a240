"""`if:`: whether a rule is there, asked of the variables which `--set NAME=VALUE` gives."""

from __future__ import annotations

from collections.abc import Mapping

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Condition", "Equal", "Not", "Scalar", "Truthy"]

Scalar = str | int | float | bool | None
Variables = Mapping[str, object]

_FALSE = ("false", "0", "", "null")
_DOUBTFUL = ("yes", "no", "on", "off", "y", "n")  # YAML 1.1's words, which YAML 1.2 reads as text: neither true nor false by sight
_TRUTHS = frozenset(("true", "false"))


@dataclass(frozen=True, slots=True)
class Truthy:
    """`if: NAME`: the variable is set to anything but false, 0, null or an empty text."""

    name: str

    def holds(self, variables: Variables) -> bool:
        """Raises RulesError when the variable is unset, or `yes`, `no`, `on`, `off`."""
        value = _text(_value(self.name, variables))
        if value.lower() in _DOUBTFUL:
            raise _no_truth(self.name, value)
        return value.lower() not in _FALSE


@dataclass(frozen=True, slots=True)
class Equal:
    """`if: {NAME: VALUE, ...}`: every variable has its value. `101` and 101 are the same, as are `true` and True."""

    pairs: tuple[tuple[str, Scalar], ...]

    def holds(self, variables: Variables) -> bool:
        """Raises RulesError when one of the variables is unset, or compared with true or false and neither."""
        found = [_value(name, variables) for name, _ in self.pairs]  # all are looked up: an unset one is an error, whatever the others say
        for value, (name, wanted) in zip(found, self.pairs, strict=True):
            if isinstance(wanted, bool) and _text(value).lower() not in _TRUTHS:
                raise _no_truth(name, _text(value))
        return all(_text(value) == _text(wanted) for value, (_, wanted) in zip(found, self.pairs, strict=True))


@dataclass(frozen=True, slots=True)
class Not:
    """`if: {not: ...}`."""

    condition: Condition

    def holds(self, variables: Variables) -> bool:
        """Raises what the inner condition raises."""
        return not self.condition.holds(variables)


Condition = Truthy | Equal | Not


def _no_truth(name: str, value: str) -> RulesError:
    return RulesError(f"the variable {name!r} is {value!r}, which is neither true nor false", hint=f"--set {name}=true")


def _value(name: str, variables: Variables) -> object:
    if name in variables:
        return variables[name]
    near = nearest(name, variables)
    raise RulesError(
        f"the variable {name!r} is not set",
        hint=f"--set {name}=VALUE" + (f" (set is {near!r}: did you mean that?)" if near else ""),
    )


def _text(value: object) -> str:
    """A value as YAML writes it: what comes from a command line is text, what comes from a file or from Python is not."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
