"""The options of the commands which read rules, as one value; and what their words mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import click

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ckpt_surgeon.rules.rule import Rules

__all__ = ["Given", "model_options", "parse_sources", "parse_variables", "plugin_option", "rule_options"]

_Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What stood on the command line beside source and target. `rules` are those of the files, then those of `-e`.

    sources: alias -> another source; for `verify`, the source itself under an empty alias.
    """

    rules: Rules | None
    variables: dict[str, Any]
    allow_missing: tuple[str, ...]
    allow_unexpected: tuple[str, ...]
    require_coverage: float | None
    sources: dict[str, str]
    arguments: dict[str, Any]

    @property
    def demands(self) -> dict[str, Any]:
        """What may be missing or left over and how much has to be covered, as `plan` and `verify` take it."""
        return {
            "allow_missing": self.allow_missing,
            "allow_unexpected": self.allow_unexpected,
            "require_coverage": self.require_coverage,
        }


def rule_options(function: _Function, *, names_source: bool = False) -> _Function:
    """Give a command the options of rules; it takes them as its argument `given`.

    names_source: `--source PATH` names the source itself, which is none of the command's arguments.
    """

    @wraps(function)
    def command(*words: Any, rules: Sequence[str], expressions: Sequence[str], **rest: Any) -> Any:
        given = Given(
            _rules(rules, expressions),
            parse_variables(rest.pop("variables")),
            tuple(rest.pop("allow_missing")),
            tuple(rest.pop("allow_unexpected")),
            rest.pop("require_coverage"),
            parse_sources(rest.pop("sources"), names_source=names_source),
            rest.pop("arguments"),
        )
        return function(*words, given=given, **rest)

    for option in reversed(_RULE_OPTIONS):
        command = option(command)
    return model_options(plugin_option(command))


def plugin_option(function: _Function) -> _Function:
    """Give a command `--plugins`: only then is the code of other packages imported, before the command runs."""

    @wraps(function)
    def command(*words: Any, plugins: bool, **rest: Any) -> Any:
        if plugins:
            from ckpt_surgeon.ops import load_plugins

            load_plugins()
        return function(*words, **rest)

    return click.option("--plugins", is_flag=True, help="Load the ops of other installed packages; their code is run.")(command)


def model_options(function: _Function) -> _Function:
    """Give a command `--model-arg`; it takes the dict `arguments`."""

    @wraps(function)
    def command(*words: Any, arguments: Sequence[str], **rest: Any) -> Any:
        if not arguments:
            return function(*words, arguments={}, **rest)
        from ckpt_surgeon.model.arguments import parse_arguments

        return function(*words, arguments=parse_arguments(arguments), **rest)

    return click.option("--model-arg", "arguments", multiple=True, metavar="NAME=VALUE", help="An argument of the factory.")(command)


def parse_variables(pairs: Sequence[str]) -> dict[str, Any]:
    """`["modality=Flow", "new=true"]` -> `{"modality": "Flow", "new": True}`; a value reads as YAML's core scalars do.

    Raises click.BadParameter for a pair without `=` or a name, a name which is given twice, a number beyond all bounds.
    """
    if not pairs:
        return {}
    from ckpt_surgeon.rules.scalars import resolve

    variables: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE", param_hint="--set")
        if name in variables:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--set")
        try:
            variables[name] = resolve(value)
        except RulesError as error:
            raise click.BadParameter(str(error.problems[0]), param_hint="--set") from error
    return variables


def parse_sources(words: Sequence[str], *, names_source: bool = False) -> dict[str, str]:
    """`["ema=ema.pt"]` -> `{"ema": "ema.pt"}`. With names_source, a word without an alias stands under the empty one; a path wins.

    Raises click.BadParameter for a word without an alias where each needs one, and for an alias which is given twice.
    """
    if not words:
        return {}
    from ckpt_surgeon.keys.aliases import is_alias

    sources: dict[str, str] = {}
    for word in words:
        alias, equals, path = word.partition("=")
        if not (equals and path and is_alias(alias)) or (names_source and os.path.lexists(word)):
            alias, path = "", word
        if not alias and not names_source:
            raise click.BadParameter(f"{word!r} is not of the form ALIAS=PATH", param_hint="--source")
        if alias in sources:
            twice = f"{alias!r} is given twice" if alias else "two sources without an alias"
            raise click.BadParameter(twice, param_hint="--source")
        sources[alias] = path
    return sources


def _rules(paths: Sequence[str], expressions: Sequence[str]) -> Rules | None:
    if not paths and not expressions:
        return None
    from ckpt_surgeon.rules.reader import inline_rule, read_rules

    readings: list[Callable[[], Rules]] = [partial(read_rules, path) for path in paths]
    readings += [partial(inline_rule, text, f"-e {i}") for i, text in enumerate(expressions, 1)]
    found: list[Rules] = []
    problems: list[Problem] = []
    for read in readings:
        try:
            found.append(read())
        except RulesError as error:
            problems += error.problems
    if problems:
        raise RulesError(problems)
    return found[0].joined(*found[1:])


_RULE_OPTIONS = (
    click.option("--rules", multiple=True, metavar="FILE", help="A rules file; several run one after the other."),
    click.option("-e", "expressions", multiple=True, metavar="RULE", help="A rule, as in a file; it runs after all files."),
    click.option("--source", "sources", multiple=True, metavar="ALIAS=PATH", help="Another source, as rules name it: alias::pattern."),
    click.option("--set", "variables", multiple=True, metavar="NAME=VALUE", help="A variable for `if:`."),
    click.option("--allow-missing", multiple=True, metavar="PATTERN", help="Target keys which may stay unloaded."),
    click.option("--allow-unexpected", multiple=True, metavar="PATTERN", help="Source keys which may be left out."),
    click.option("--require-coverage", type=click.FloatRange(0, 1), metavar="X", help="The least share of elements, 0 to 1."),
)
