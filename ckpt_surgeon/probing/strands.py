"""What of a decision is right or wrong by itself, and how its values stand to the target's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.mapping.writing.proving import refused, wanted_recipes
from ckpt_surgeon.planning import Recipe
from ckpt_surgeon.probing.groups import Links
from ckpt_surgeon.probing.samples import Samples, Standing, compared, is_number
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["Strand", "strands"]

_ORDER: tuple[Standing, ...] = ("mute", "equal", "near", "unlike")  # the last one which any of a strand's tensors has is the strand's


@dataclass(frozen=True, slots=True)
class Strand:
    """Links of the decision at place `at` of which one takes what another makes: mostly one link. standing: of their values."""

    at: int
    links: Links
    standing: Standing

    @property
    def is_single(self) -> bool:
        """Whether one tensor becomes one."""
        link = self.links[0]
        return len(self.links) == len(link.sources) == len(link.targets) == 1

    @property
    def is_plain(self) -> bool:
        """Whether one tensor becomes one as it is."""
        return self.is_single and self.links[0].change is None

    @property
    def targets(self) -> tuple[str, ...]:
        """The keys which its links make."""
        return tuple(key for link in self.links for key in link.targets)

    @property
    def sources(self) -> tuple[str, ...]:
        """The keys which its links take."""
        return tuple(key for link in self.links for key in link.sources)


def strands(at: int, family: Family, samples: Samples, source: Header, target: Header) -> Iterator[Strand]:
    """The strands of a decision; none of one which cannot be carried out."""
    if refused(family.links, source, target):
        return
    recipes = wanted_recipes(family.links, source, target)
    for links in _parts(family.links, source):
        yield Strand(at, links, _standing(links, recipes, samples, target))


def _parts(links: Links, source: Header) -> list[Links]:
    """The links, those together which are joined by keys of neither header."""
    part_of: dict[str, list[Link]] = {}
    parts: dict[int, list[Link]] = {}
    for link in links:
        before = {id(part): part for key in link.sources if key not in source.entries and (part := part_of.get(key))}
        part = [*(each for old in before.values() for each in old), link]
        parts = {key: each for key, each in parts.items() if key not in before} if before else parts
        parts[id(part)] = part
        part_of |= {key: part for each in part for key in each.targets}
    return [tuple(part) for part in parts.values()]


def _standing(links: Links, recipes: Mapping[str, Recipe], samples: Samples, target: Header) -> Standing:
    made = {key: recipes[key] for link in links for key in link.targets if key in recipes}
    found = [_of_tensor(key, recipe, samples, target) for key, recipe in made.items()]
    return max(found, key=_ORDER.index, default="mute")


def _of_tensor(key: str, recipe: Recipe, samples: Samples, target: Header) -> Standing:
    spec = recipe.spec
    if not isinstance(spec, TensorSpec) or not is_number(spec) or not is_number(target.entries[key]):
        return "mute"
    return compared(samples.made(recipe, spec), samples.wanted(key), recipe)
