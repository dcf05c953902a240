"""Many patterns on many keys: literal ones by look-up, the others behind a cheap look at how a key starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.aliases import of_source, split_alias
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["MOST_PROBLEMS", "Pairs", "Selection", "checked_template"]

MOST_PROBLEMS = 8  # of one rule; the others are most often the same mistake again
_WILD = re.compile(r"[*{]")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of many patterns match a key."""

    literals: Mapping[str, Pattern]
    heads: tuple[tuple[str, Pattern], ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> Selection:
        """From the patterns' texts; RulesError for one which is wrong."""
        parsed = [Pattern.parse(pattern) for pattern in patterns]
        heads = tuple((_head(pattern.text), pattern) for pattern in parsed if not pattern.is_literal)
        return cls({pattern.text: pattern for pattern in parsed if pattern.is_literal}, heads)

    def matches(self, key: str) -> bool:
        """Whether any pattern matches."""
        return key in self.literals or any(key.startswith(head) and pattern.match(key) is not None for head, pattern in self.heads)

    def candidates(self, keys: Sequence[str]) -> Sequence[str]:
        """The keys which may match, in order: those which start as one of the patterns does."""
        heads = tuple(head for head, _ in self.heads)
        if not self.literals:
            return [key for key in keys if key.startswith(heads)]
        return [key for key in keys if key in self.literals or key.startswith(heads)]

    def found(self, key: str) -> list[tuple[Pattern, dict[str, str]]]:
        """Each pattern which matches, with what it captures."""
        found: list[tuple[Pattern, dict[str, str]]] = [(self.literals[key], {})] if key in self.literals else []
        for head, pattern in self.heads:
            if key.startswith(head):
                captures = pattern.match(key)
                if captures is not None:
                    found.append((pattern, captures))
        return found


def _head(pattern: str) -> str:
    """How every key starts which the pattern matches. An empty path takes the dot before it away: `a.**` matches `a`."""
    alias, rest = split_alias(pattern)
    if rest.startswith("re:"):
        return of_source(alias, "")
    wild = _WILD.search(pattern)
    return pattern[: wild.start()].removesuffix(".") if wild else pattern


@dataclass(frozen=True, slots=True)
class Pairs:
    """`{PATTERN: TEMPLATE}` of an op on whole keys."""

    name: str
    templates: Mapping[str, Template]
    selection: Selection

    @classmethod
    def of(cls, pairs: Mapping[str, str], name: str) -> Pairs:
        """From the texts; RulesError with every pattern or template which is wrong."""
        problems: list[Problem] = []
        templates = {}
        for pattern, template in pairs.items():
            try:
                templates[pattern] = checked_template(Pattern.parse(pattern), template)
            except RulesError as error:
                problems += [Problem(f"{name}: {problem.what}", problem.where, problem.hint) for problem in error.problems]
        if problems:
            raise RulesError(problems)
        return cls(name, templates, Selection.of(list(pairs)))

    def places(self, keys: Sequence[str], *, once: bool) -> list[tuple[str, str]]:
        """(key, its new name) for each match, in the order of the keys.

        Raises RulesError when a key is matched by two pairs (where `once`), or when some pairs match and others do not; that
        none matches is for the plan to say.
        """
        places: list[tuple[str, str]] = []
        problems: list[Problem] = []
        used: set[str] = set()
        for key in self.selection.candidates(keys):
            found = self.selection.found(key)
            if not found:
                continue
            used.update([pattern.text for pattern, _ in found])
            if once and len(found) > 1:
                patterns = " and ".join(pattern.text for pattern, _ in found)
                problems.append(Problem(f"{self.name}: {escape(key)} is matched by two pairs: {patterns}", hint="Narrow one of them."))
                continue
            places += [(key, self.templates[pattern.text].expand(captures)) for pattern, captures in found]
        problems += self._unused(used, keys) if used else []
        if problems:
            raise RulesError(problems[:MOST_PROBLEMS])
        return places

    def _unused(self, used: set[str], keys: Sequence[str]) -> list[Problem]:
        unused = [pattern for pattern in self.templates if pattern not in used]
        return [self._nothing(pattern, keys) for pattern in unused[:MOST_PROBLEMS]]

    def _nothing(self, pattern: str, keys: Sequence[str]) -> Problem:
        like = nearest(pattern, keys) if pattern in self.selection.literals else None
        hint = f"Did you mean {escape(like)}?" if like else "Each pair must match; put one which may not into a rule with `expect: any`."
        return Problem(f"{self.name}: {escape(pattern)} matches nothing", hint=hint)


def checked_template(pattern: Pattern, text: str) -> Template:
    """The template, which takes nothing that the pattern does not capture."""
    template = Template.parse(text)
    template.check(pattern.captures)
    unfolded = [name for name in template.typed if name not in pattern.captures]
    if unfolded:
        hint = "A capture which stands only in the target unfolds one tensor into several: `split`, `unstack`."
        raise RulesError(f"{text!r}: {unfolded[0]!r} is not captured by {pattern.text!r}", hint=hint)
    return template
