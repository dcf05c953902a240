"""A dataclass whose methods are made when they are first called: a command imports a hundred such classes, and uses some of them.

The standard decorator compiles six functions for each class when it is declared, a millisecond in all; that was a third of what a command
costs which reads headers alone. To type checkers this one is the standard one; to who calls it, it differs in nothing (tests hold both side
by side) but in the options which it does not know. `field`, `fields`, `replace` and `is_dataclass` are the standard ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

__all__ = ["dataclass"]

_MISSING: Final = dataclasses.MISSING
_BLUEPRINT: Final = "__blueprint__"


class _MadeAnew:
    """What a parameter's default is shown as where each value gets a new one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<factory>"


_MADE_ANEW: Final = _MadeAnew()


class _Blueprint:
    """The fields of a class, and whatever is made of them."""

    __slots__ = ("frozen", "own", "owner")

    def __init__(self, declared: type, *, frozen: bool) -> None:
        self.owner: Any = declared
        self.frozen = frozen
        self.own: dict[str, dataclasses.Field[Any]] = {}
        for name, kind in vars(declared).get("__annotations__", {}).items():
            if not kind.startswith("ClassVar"):
                self.own[name] = _field_of(name, kind, vars(declared).get(name, _MISSING))

    def fields(self) -> list[dataclasses.Field[Any]]:
        """Those of the bases first; a field which is declared again keeps its place."""
        found: dict[str, dataclasses.Field[Any]] = {}
        for base in reversed(self.owner.__mro__[1:]):
            blueprint = vars(base).get(_BLUEPRINT)
            found |= vars(base).get("__dataclass_fields__", {}) if blueprint is None else blueprint.own
        return list((found | self.own).values())

    def init(self) -> Callable[..., None]:
        """`__init__`, compiled as the standard one is: values are made by the hundred thousand."""
        fields = self.fields()
        names: dict[str, Any] = {"__name__": self.owner.__module__, "_made_anew": _MADE_ANEW}
        names |= {f"_default_{each.name}": each.default for each in fields} | {f"_new_{each.name}": each.default_factory for each in fields}
        names |= {f"_set_{each.name}": _setter(self.owner, each.name) for each in fields}
        parameters = ", ".join(["self", *(_parameter(each) for each in fields if each.init)])
        lines = [f"_set_{each.name}(self, {value})" for each in fields if (value := _value(each)) is not None]
        if hasattr(self.owner, "__post_init__"):
            lines.append("self.__post_init__()")
        exec(f"def __init__({parameters}):\n " + "\n ".join(lines or ["pass"]), names)  # noqa: S102  # of the class's own field names
        made = names["__init__"]
        made.__annotations__ = {each.name: each.type for each in fields if each.init} | {"return": None}
        made.__qualname__ = f"{self.owner.__qualname__}.__init__"
        return made  # type: ignore[no-any-return]

    def eq(self) -> Callable[[Any, object], bool]:
        values = _values([each.name for each in self.fields() if each.compare])

        def equal(self: Any, other: object) -> bool:
            return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

        return equal

    def hash(self) -> Callable[[Any], int]:
        values = _values([each.name for each in self.fields() if (each.compare if each.hash is None else each.hash)])

        def hashed(self: Any) -> int:
            return hash(values(self))

        return hashed

    def standard(self) -> dict[str, dataclasses.Field[Any]]:
        """`__dataclass_fields__`, by which the standard functions know a dataclass."""
        declared = [(each.name, each.type, each) for each in self.fields()]
        said = {"__doc__": "Else it is made of the signature, for which all of it is tokenized."}
        made = dataclasses.make_dataclass(self.owner.__name__, declared, namespace=said, init=False, repr=False, eq=False)
        return {each.name: each for each in dataclasses.fields(made)}

    def parameters(self) -> Any:
        """`__dataclass_params__`, which the standard decorator asks of a base."""
        return vars(dataclasses.make_dataclass(self.owner.__name__, [], frozen=self.frozen))["__dataclass_params__"]

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


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """All of them in a tuple, as the standard methods compare them: a number which is none (NaN) is then equal to itself."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


class _Later:
    """Takes a method's place in a class until it is asked for. maker: the method of the blueprint which makes it."""

    __slots__ = ("_blueprint", "_maker", "_name")

    def __init__(self, name: str, blueprint: _Blueprint, maker: str) -> None:
        self._name, self._blueprint, self._maker = name, blueprint, maker

    def __get__(self, instance: object, owner: type) -> Any:
        made = getattr(self._blueprint, self._maker)()
        setattr(self._blueprint.owner, self._name, made)
        return made.__get__(instance, owner) if callable(made) else made


def _repr(self: Any) -> str:
    shown = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({shown})"


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

    return {"__setattr__": set_attribute, "__delattr__": delete_attribute}


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _members(space: Mapping[str, Any], blueprint: _Blueprint, *, slots: bool, eq: bool) -> dict[str, Any]:
    """What a class which declared `space` gets; what it says itself stays."""
    made: dict[str, Any] = {"__repr__": _repr, "__match_args__": tuple(each.name for each in blueprint.fields() if each.init)}
    if eq:
        made["__eq__"] = _Later("__eq__", blueprint, "eq")
    if blueprint.frozen and slots:
        made |= {"__getstate__": _state, "__setstate__": _set_state}
    made = {name: value for name, value in made.items() if name not in space}
    if eq and (space.get("__hash__") is None):
        made["__hash__"] = _Later("__hash__", blueprint, "hash") if blueprint.frozen else None
    if blueprint.frozen:
        made |= _refusals(blueprint)
    makers = {"__init__": "init", "__dataclass_fields__": "standard", "__dataclass_params__": "parameters"}
    return made | {name: _Later(name, blueprint, maker) for name, maker in makers.items()}


def _declared(cls: type, *, frozen: bool, slots: bool, eq: bool) -> type:
    blueprint = _Blueprint(cls, frozen=frozen)
    members = _members(vars(cls), blueprint, slots=slots, eq=eq) | {_BLUEPRINT: blueprint}
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
