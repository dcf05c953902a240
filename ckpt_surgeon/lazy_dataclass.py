"""A dataclass whose methods are made when they are first called: a command imports a hundred such classes, and uses some of them.

The standard decorator compiles six functions for each class when it is declared, a millisecond in all; that was a quarter of what a
command costs which reads headers alone. This one compiles `__init__` itself, and asks the standard one for the rest, each when it is called
for the first time. To type checkers it is the standard one, and so to who calls it (tests hold both side by side), but for the options
which it does not know.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from inspect import get_annotations
from types import MappingProxyType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

__all__ = ["dataclass"]

_MISSING: Final = dataclasses.MISSING
_BLUEPRINT: Final = "_blueprint"
# What the standard decorator is asked for, by what it makes then.
_OPTIONS: Final[Mapping[str, Mapping[str, bool]]] = MappingProxyType(
    {"__repr__": {"repr": True}, "__eq__": {"eq": True}, "__hash__": {"unsafe_hash": True}, "__dataclass_fields__": {}}
)


class _MadeAnew:
    """What a parameter's default is shown as where each value gets a new one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<factory>"


_MADE_ANEW: Final = _MadeAnew()


class _Blueprint:
    """The fields of a class, and whatever is made of them."""

    __slots__ = ("eq", "frozen", "own", "owner")

    def __init__(self, declared: type, *, frozen: bool, eq: bool) -> None:
        self.owner: Any = declared
        self.frozen, self.eq = frozen, eq
        self.own: dict[str, dataclasses.Field[Any]] = {}
        for name, kind in get_annotations(declared).items():
            if not kind.startswith("ClassVar"):
                self.own[name] = _field_of(name, kind, vars(declared).get(name, _MISSING))

    def fields(self) -> list[dataclasses.Field[Any]]:
        """Those of the bases first; a field which is declared again keeps its place."""
        found: dict[str, dataclasses.Field[Any]] = {}
        for base in reversed(self.owner.__mro__[1:]):
            blueprint = vars(base).get(_BLUEPRINT)
            found |= vars(base).get("__dataclass_fields__", {}) if blueprint is None else blueprint.own
        return list((found | self.own).values())

    def member(self, name: str) -> Any:
        """What stands under `name` in a class of these fields."""
        if name == "__init__":
            return self._init()
        if name == "__dataclass_params__":
            return self._standard(name, init=True, repr=True, eq=self.eq, frozen=self.frozen)
        return self._standard(name, **_OPTIONS[name])

    def _init(self) -> Any:
        """`__init__`, compiled as the standard one is: values are made by the hundred thousand."""
        fields = self.fields()
        names: dict[str, Any] = {"_made_anew": _MADE_ANEW}
        names |= {f"_default_{each.name}": each.default for each in fields} | {f"_new_{each.name}": each.default_factory for each in fields}
        names |= {f"_set_{each.name}": _setter(self.owner, each.name) for each in fields}
        parameters = ", ".join(["self", *(_parameter(each) for each in fields if each.init)])
        lines = [f"_set_{each.name}(self, {value})" for each in fields if (value := _value(each)) is not None]
        if hasattr(self.owner, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "\n  ".join(lines or ["pass"])
        source = f"def make({', '.join(names)}):\n def __init__({parameters}):\n  {body}\n return __init__"
        space: dict[str, Any] = {}
        # Of the class's own field names; in its module, so that annotations can be looked up.
        exec(source, getattr(sys.modules.get(self.owner.__module__), "__dict__", {}), space)  # noqa: S102
        made = self.named("__init__", space["make"](**names))
        made.__annotations__ = {each.name: each.type for each in fields if each.init} | {"return": None}
        return made

    def _standard(self, name: str, **options: bool) -> Any:
        """What the standard decorator makes of these fields under `name`."""
        declared = [(each.name, each.type, each) for each in self.fields()]
        said = {"__doc__": "Else it is made of the signature, for which all of it is tokenized."}
        chosen: dict[str, Any] = {"init": False, "repr": False, "eq": False, **options}
        made = vars(dataclasses.make_dataclass(self.owner.__name__, declared, namespace=said, **chosen))[name]
        return self.named(name, made) if callable(made) else made

    def named(self, name: str, function: Any) -> Any:
        """A method of this class, as such."""
        function.__name__, function.__qualname__, function.__module__ = name, f"{self.owner.__qualname__}.{name}", self.owner.__module__
        return function

    def refuses(self, value: object, name: str) -> bool:
        """Whether a field may not be set or deleted; what a class which derives from this one adds, may be."""
        return type(value) is self.owner or any(each.name == name for each in self.fields())


def _field_of(name: str, kind: str, default: Any) -> dataclasses.Field[Any]:
    made = default if isinstance(default, dataclasses.Field) else dataclasses.field(default=default)
    if made.default is not _MISSING and made.default.__class__.__hash__ is None:
        raise ValueError(f"the default of {name} can be changed by whoever gets it; use default_factory")
    made.name, made.type = name, kind
    return made


def _parameter(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not _MISSING:
        return f"{field.name}=_made_anew"
    return field.name if field.default is _MISSING else f"{field.name}=_default_{field.name}"


def _value(field: dataclasses.Field[Any]) -> str | None:
    """What `__init__` sets a field to, as source; None where `__post_init__` does."""
    name = field.name
    if field.default_factory is not _MISSING:
        return f"_new_{name}() if {name} is _made_anew else {name}" if field.init else f"_new_{name}()"
    if field.init:
        return name
    return None if field.default is _MISSING else f"_default_{name}"


def _setter(owner: type, name: str) -> Callable[[Any, Any], None]:
    """What sets a field where `__setattr__` refuses: the slot itself, where there is one, in half the time of anything else."""
    slot = getattr(owner, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__
    return lambda value, content: object.__setattr__(value, name, content)


class _Later:
    """Takes a method's place in a class until it is asked for."""

    __slots__ = ("_blueprint", "_name")

    def __init__(self, name: str, blueprint: _Blueprint) -> None:
        self._name, self._blueprint = name, blueprint

    def __get__(self, instance: object, owner: type) -> Any:
        made = self._blueprint.member(self._name)
        setattr(self._blueprint.owner, self._name, made)
        return made.__get__(instance, owner) if callable(made) else made


def _refusals(blueprint: _Blueprint) -> dict[str, Callable[..., None]]:
    """`__setattr__` and `__delattr__` of what is frozen."""

    def set_attribute(self: object, name: str, value: object) -> None:
        if blueprint.refuses(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(blueprint.owner, self).__setattr__(name, value)

    def delete_attribute(self: object, name: str) -> None:
        if blueprint.refuses(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(blueprint.owner, self).__delattr__(name)

    made = {"__setattr__": set_attribute, "__delattr__": delete_attribute}
    return {name: blueprint.named(name, method) for name, method in made.items()}


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _replace(self: Any, **changes: Any) -> Any:
    return dataclasses.replace(self, **changes)


def _members(space: Mapping[str, Any], blueprint: _Blueprint, *, slots: bool) -> dict[str, Any]:
    """What a class which declared `space` gets; what it says itself stays."""
    made: dict[str, Any] = {"__repr__": _Later("__repr__", blueprint)}
    made["__match_args__"] = tuple(each.name for each in blueprint.fields() if each.init)
    if blueprint.eq:
        made["__eq__"] = _Later("__eq__", blueprint)
    if sys.version_info >= (3, 13):
        made["__replace__"] = _replace
    if blueprint.frozen and slots:
        made |= {"__getstate__": _state, "__setstate__": _set_state}
    made = {name: value for name, value in made.items() if name not in space}
    if blueprint.eq and space.get("__hash__") is None:
        made["__hash__"] = _Later("__hash__", blueprint) if blueprint.frozen else None
    if blueprint.frozen:
        made |= _refusals(blueprint)
    always = ("__init__", "__dataclass_fields__", "__dataclass_params__")
    return made | {name: _Later(name, blueprint) for name in always} | {_BLUEPRINT: blueprint}


def _declared(cls: type, *, frozen: bool, slots: bool, eq: bool) -> type:
    blueprint = _Blueprint(cls, frozen=frozen, eq=eq)
    members = _members(vars(cls), blueprint, slots=slots)
    if slots:
        blueprint.owner = made = _with_slots(cls, blueprint.own, members)
        return made
    for name, field in blueprint.own.items():
        if field.default is not _MISSING:
            members[name] = field.default
        elif name in vars(cls):
            delattr(cls, name)
    for name, member in members.items():
        setattr(cls, name, member)
    return cls


def _with_slots(cls: type, fields: Iterable[str], members: Mapping[str, Any]) -> type:
    """The class once more, since slots must be named when it is made."""
    inherited = {name for base in cls.__mro__[1:] for name in vars(base).get("__slots__", ())}
    space = {name: value for name, value in vars(cls).items() if name not in {*fields, "__dict__", "__weakref__"}}
    space["__slots__"] = tuple(name for name in fields if name not in inherited)
    return type(cls)(cls.__name__, cls.__bases__, {**space, **members, "__qualname__": cls.__qualname__})


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):
        """As `dataclasses.dataclass`, whose other options it does not know."""
        if cls is None:
            return lambda declared: _declared(declared, frozen=frozen, slots=slots, eq=eq)
        return _declared(cls, frozen=frozen, slots=slots, eq=eq)
