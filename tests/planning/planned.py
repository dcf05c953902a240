"""Plans from short words: `planned([rule, ...], header(a__weight=(2, 3)))`."""

from typing import Any

from ckpt_surgeon.planning import Plan, make_plan, sources_of
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Entry, Header, TensorSpec

__all__ = ["header", "names", "planned"]


def header(_aliases: dict[str, str] | None = None, _fields: dict[str, Any] | None = None, **entries: Any) -> Header:
    """`a__weight=(2, 3)` stands for the key `a.weight`, an f32 tensor of that shape."""
    table: dict[str, Entry] = {
        key.replace("__", "."): TensorSpec.of("float32", *value) if isinstance(value, tuple) else value for key, value in entries.items()
    }
    return Header(table, aliases=_aliases or {}, **(_fields or {}))


def planned(rules: list[dict[str, Any]], source: Header, target: Header | None = None, **options: Any) -> Plan:
    """A plan; `allow` is the rules' own section, every other option is one of `make_plan`."""
    document = {"version": 1, "rules": rules, "allow": options.pop("allow", {})}
    return make_plan(as_rules(document), source, target, **options)


def names(plan: Plan) -> dict[str, list[str]]:
    """Each key of the output, ties included, with the source keys which it reads, in plan order."""
    return {key: [source.key for source in sources_of(plan.recipes[plan.ties.get(key, key)])] for key in plan.header.entries}
