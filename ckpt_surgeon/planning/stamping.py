"""What a surgery leaves in the text metadata of its output: the rules' digest, and the digests of the plans before it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.spec import LINEAGE, Header

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Outcome
    from ckpt_surgeon.planning.recipe import Recipe
    from ckpt_surgeon.rules.rule import Rules

__all__ = ["HISTORY", "PLAN", "REPEATED", "is_digest", "is_repeated", "is_surgery", "stamped"]

REPEATED: Final = "these rules have made the source already: it bears their digest"
RULES: Final = "ckpt_surgeon.rules"
PLAN: Final = "ckpt_surgeon.plan"
HISTORY: Final = "ckpt_surgeon.history"
# Of a file which is remapped by a program every day: a quarter of a year, in 7 kB.
_MOST_PLANS: Final = 100
_DIGEST = re.compile("[0-9a-f]{64}")


def is_repeated(source: Header, rules: Rules) -> bool:
    """Whether the source is an output of these very rules, as its stamp says; a `.pt` file has no place for one."""
    return bool(rules.rules) and source.metadata.get(RULES) == rules.digest


def is_surgery(outcome: Outcome, recipes: Mapping[str, Recipe], order: list[str], source: Header) -> bool:
    """Whether anything but the order of the keys differs from the source: otherwise what its metadata say of its keys stays true."""
    return not len(outcome.exact) == len(order) == len(source.entries) or _takes_others(recipes)


def _takes_others(recipes: Mapping[str, Recipe]) -> bool:
    """Whether a tensor of another source stands in the output as it is: under its own name, it is no less `exact`."""
    from ckpt_surgeon.planning.recipe import Source

    return any(isinstance(recipe, Source) and recipe.file for recipe in recipes.values())


def stamped(source: Header, outcome: Outcome, recipes: Mapping[str, Recipe], order: list[str], rules_digest: str) -> dict[str, str]:
    """The source's text metadata, as they stand in the output.

    A manifest, which tells of the source's own keys, goes where these change, and its plan joins the history.
    rules_digest: of rules, which is written unless they changed nothing; empty where there are none.
    Raises CorruptError for a plan or a history in the source which is none.
    """
    texts = dict(source.metadata)
    if is_surgery(outcome, recipes, order, source):
        texts = {name: text for name, text in texts.items() if name not in (LINEAGE, PLAN, HISTORY)} | _history(source.metadata)
    if rules_digest and (len(outcome.exact) != len(order) or order != list(source.entries) or _takes_others(recipes)):
        texts[RULES] = rules_digest
    return texts


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 in hexadecimal."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _history(metadata: Mapping[str, str]) -> dict[str, str]:
    """The plans from which the source came, the oldest first; nothing where none is known."""
    if PLAN not in metadata and HISTORY not in metadata:
        return {}
    from ckpt_surgeon.formats.strict_json import parse_json

    plans = parse_json(metadata.get(HISTORY, "[]"), HISTORY)
    plans = [*plans, metadata[PLAN]] if isinstance(plans, list) and PLAN in metadata else plans
    if not isinstance(plans, list) or not all(map(is_digest, plans)):
        raise CorruptError(f"{PLAN} and {HISTORY} are no digests of plans", hint="take them out of the file's metadata")
    return {HISTORY: json.dumps(plans[-_MOST_PLANS:], separators=(",", ":"))}
