"""The dataclass which makes its methods on use, beside the standard one: every class of the house, and small ones for what values do."""

import copy
import dataclasses
import json
import pickle
import pprint
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ckpt_surgeon import lazy_dataclass
from ckpt_surgeon.spec import TensorSpec

ROOT = Path(__file__).resolve().parents[1]
KINDS = [dataclasses.dataclass, lazy_dataclass.dataclass]

# What is known of each dataclass of the package, with the decorator which is named as the first argument.
SURVEY = """
import dataclasses, importlib, inspect, json, pkgutil, re, sys, typing
if sys.argv[1] == "standard":
    import ckpt_surgeon.lazy_dataclass
    ckpt_surgeon.lazy_dataclass.dataclass = dataclasses.dataclass
import ckpt_surgeon

MADE = ["__repr__", "__eq__", "__hash__", "__init__", "__setattr__", "__delattr__"]

def types_of(cls):
    try:
        return repr(typing.get_type_hints(cls.__init__))
    except NameError as error:  # of names which are there for type checkers alone
        return str(error)

def known(cls):
    fields = dataclasses.fields(cls)
    return {
        "signatures": [re.sub(" at 0x[0-9a-f]+", "", str(inspect.signature(each))) for each in (cls, cls.__init__)],
        "positions": cls.__match_args__,
        "slots": vars(cls).get("__slots__"),
        "fields": [(f.name, str(f.type), f.init, f.repr, f.compare, f.hash) for f in fields],
        "parameters": repr(cls.__dataclass_params__),
        "methods": [(m.__module__, m.__qualname__) for m in (getattr(cls, name) for name in MADE if name in vars(cls)) if m],
        "types": types_of(cls),
        "hash": [cls.__hash__ is None, cls.__hash__ is object.__hash__, cls.__eq__ is object.__eq__],
        "defaults": [] if "__slots__" in vars(cls) else [re.sub(" at 0x[0-9a-f]+", "", repr(getattr(cls, f.name, None))) for f in fields],
        "names": sorted(vars(cls).keys() - {"_blueprint", "__weakref__"}),
    }

found = {}
for each in pkgutil.walk_packages(ckpt_surgeon.__path__, "ckpt_surgeon."):
    if not each.name.endswith("__main__"):
        module = importlib.import_module(each.name)
        classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == each.name]
        found |= {f"{each.name}.{cls.__qualname__}": known(cls) for cls in classes if dataclasses.is_dataclass(cls)}
print(json.dumps(found))
"""


def survey(kind: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", SURVEY, kind], check=True, capture_output=True, text=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


def test_each_class_of_the_house_is_what_the_standard_decorator_makes() -> None:
    lazy, standard = survey("lazy"), survey("standard")
    assert len(standard) > 250
    assert lazy == standard


def small(kind: Callable[..., Any]) -> tuple[type, type, type]:
    """A value, one which derives from it, and one which can be changed."""

    @kind(frozen=True, slots=True)
    class Point:
        x: "float"
        y: "float" = 0.0
        names: "tuple[str, ...]" = ()
        where: "str" = field(default="", compare=False)
        sizes: "Mapping[str, int]" = field(default_factory=dict, hash=False, repr=False)
        total: "float" = field(init=False, compare=False)
        dimensions: "ClassVar[int]" = 2

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.x + self.y)

        @property
        def double(self) -> float:
            """A property keeps working in a class which is made twice."""
            return 2 * self.x

    @kind(frozen=True)
    class Named(Point):
        y: "float" = 1.0
        name: "str" = "p"

    @kind(slots=True)
    class Count:
        done: "int" = 0
        seen: "list[int]" = field(default_factory=list, init=False)

    return Point, Named, Count


@pytest.fixture(params=KINDS, ids=["standard", "lazy"])
def classes(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    return small(request.param)


def test_values_are_equal_by_their_fields_and_of_one_class_only(classes: tuple[Any, ...]) -> None:
    point, named, _ = classes
    assert point(1) == point(1, 0.0, where="elsewhere")
    assert point(1) != point(2)
    assert point(1, sizes={"a": 1}) != point(1)
    assert point(1, 1.0) != named(1)
    assert point(1).__eq__(1) is NotImplemented


def test_hashes_leave_out_what_says_so(classes: tuple[Any, ...]) -> None:
    point, named, count = classes
    assert hash(point(1, sizes={"a": 1})) == hash(point(1))
    assert len({point(1), point(1.0), point(2), named(1)}) == 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(count())


def test_a_value_which_is_no_number_equals_itself(classes: tuple[Any, ...]) -> None:
    count = classes[2]
    nothing = float("nan")
    assert count(nothing) == count(nothing)


def test_reprs_are_the_standard_ones(classes: tuple[Any, ...]) -> None:
    point, named, count = classes
    prefix = "small.<locals>."
    assert repr(point(1)) == f"{prefix}Point(x=1, y=0.0, names=(), where='', total=1.0)"
    assert repr(named(1)) == f"{prefix}Named(x=1, y=1.0, names=(), where='', total=2.0, name='p')"
    assert repr(count(3)) == f"{prefix}Count(done=3, seen=[])"


def test_a_long_value_is_printed_field_by_field(classes: tuple[Any, ...]) -> None:
    point = classes[0]
    shown = pprint.pformat(point(1, names=("a long name, repeated",) * 6))
    assert shown.splitlines()[0].endswith("Point(x=1,")
    assert len(shown.splitlines()) == 10


def test_a_value_which_holds_itself_has_a_repr(classes: tuple[Any, ...]) -> None:
    value = classes[2]()
    value.seen = [value]
    assert repr(value) == "small.<locals>.Count(done=0, seen=[...])"


def test_a_frozen_value_refuses_to_change(classes: tuple[Any, ...]) -> None:
    value = classes[0](1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        value.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del value.x
    assert value.x == 1


def test_one_which_is_not_frozen_changes(classes: tuple[Any, ...]) -> None:
    first, second = classes[2](), classes[2](5)
    first.done += 1
    first.seen.append(7)
    assert (first.done, first.seen, second.done, second.seen) == (1, [7], 5, [])
    with pytest.raises(AttributeError):
        first.other = 1


def test_the_standard_functions_know_it(classes: tuple[Any, ...]) -> None:
    point, named, count = classes
    assert [each.name for each in dataclasses.fields(named)] == ["x", "y", "names", "where", "sizes", "total", "name"]
    assert dataclasses.replace(named(1, name="q"), x=5) == named(5, name="q")
    assert dataclasses.asdict(count(2)) == {"done": 2, "seen": []}
    assert dataclasses.is_dataclass(point)
    assert point.dimensions == named(1).dimensions == 2


def test_wrong_arguments_are_named(classes: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument: 'x'"):
        classes[0]()
    with pytest.raises(TypeError, match=r"__init__\(\) got an unexpected keyword argument 'total'"):
        classes[0](1, total=3)


def test_a_pattern_takes_it_apart(classes: tuple[Any, ...]) -> None:
    point = classes[0]
    match point(1, 2):
        case point(x, y):
            assert (x, y) == (1, 2)
        case _:
            pytest.fail("the pattern did not match")


def test_what_a_class_says_itself_stays() -> None:
    for kind in KINDS:

        @kind(frozen=True, slots=True)
        class Odd:
            x: "int"

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Odd) and self.x % 2 == other.x % 2

            def __repr__(self) -> str:
                return "odd"

            def __hash__(self) -> int:
                return self.x % 2

        assert (Odd(1) == Odd(3), repr(Odd(1)), hash(Odd(5))) == (True, "odd", 1)


def test_a_default_which_could_be_changed_is_refused() -> None:
    for kind in KINDS:
        with pytest.raises(ValueError, match="default_factory"):

            @kind(frozen=True)
            class Shared:
                names: "list[str]" = []  # noqa: RUF012  # what is tried


def test_values_are_copied_and_pickled_with_their_fields() -> None:
    spec = TensorSpec.of("float32", 2, 3)
    assert copy.deepcopy(spec) == pickle.loads(pickle.dumps(spec)) == spec
    assert pickle.loads(pickle.dumps(spec)).nbytes == 24


def test_a_base_which_was_never_called_makes_its_method_for_who_derives_from_it(classes: tuple[Any, ...]) -> None:
    point = classes[0]

    class Moved(point):  # type: ignore[misc]
        """No dataclass itself."""

    assert Moved(3).total == 3
    assert Moved(3) == Moved(3)
    assert point(3) != Moved(3)


@pytest.mark.parametrize("derived", KINDS, ids=["standard", "lazy"])
def test_either_kind_derives_from_the_other(classes: tuple[Any, ...], derived: Callable[..., Any]) -> None:
    named = classes[1]

    @derived(frozen=True)
    class Titled(named):  # type: ignore[misc, valid-type]
        title: "str" = "t"

    value = Titled(1, title="u")
    assert (value.total, value.title, value.name) == (2.0, "u", "p")
    assert dataclasses.replace(value, x=2) == Titled(2, title="u")
    with pytest.raises(TypeError, match="cannot inherit non-frozen"):
        dataclasses.dataclass(type("Loose", (Titled,), {}))


@pytest.mark.parametrize("kind", KINDS, ids=["standard", "lazy"])
def test_what_derives_without_a_decorator_may_add_attributes_and_set_no_field(kind: Callable[..., Any]) -> None:
    @kind(frozen=True)
    class Label:
        text: "str"

    class Marked(Label):
        """No dataclass itself."""

    value: Any = Marked("a")
    value.mark = 7
    assert value.mark == 7
    del value.mark
    assert not hasattr(value, "mark")
    for name in ("text", "mark"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(Label("a"), name, "b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.text = "b"


def test_methods_are_made_once_and_when_they_are_asked_for() -> None:
    point = small(lazy_dataclass.dataclass)[0]
    before = vars(point)["__init__"]
    point(1)
    made = vars(point)["__init__"]
    point(2)
    assert not callable(before)
    assert vars(point)["__init__"] is made
    assert not callable(vars(point)["__hash__"])
