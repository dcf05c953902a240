"""Headers of small models, and what a mapping answers and asks."""

import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType

from ckpt_surgeon.mapping.calibration import MIN_CONFIDENCE
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.mapping.links import Mapping as KeyMapping
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["Shapes", "answers", "batch_norm", "calls", "doubts", "header", "layers", "questions", "renamed", "resnet18", "scrambled", "vit"]

Shapes = dict[str, tuple[int, ...]]


def header(shapes: Mapping[str, Sequence[int]]) -> Header:
    """A header of float32 tensors; counters of batches are int64."""
    kinds = {key: "int64" if key.endswith("num_batches_tracked") else "float32" for key in shapes}
    return Header({key: TensorSpec.of(kinds[key], *shape) for key, shape in shapes.items()})


def batch_norm(name: str, size: int) -> Shapes:
    """The five tensors of a batch norm."""
    return {f"{name}.{leaf}": (size,) for leaf in ("weight", "bias", "running_mean", "running_var")} | {f"{name}.num_batches_tracked": ()}


def layers(prefix: str, shapes: Mapping[str, Sequence[int]]) -> Shapes:
    """Layers with a weight of the shape given and a bias."""
    made: Shapes = {}
    for name, shape in shapes.items():
        made[f"{prefix}{name}.weight"] = tuple(shape)
        made[f"{prefix}{name}.bias"] = (shape[0],)
    return made


def resnet18() -> Shapes:
    """torchvision's resnet18."""
    made: Shapes = {"conv1.weight": (64, 3, 7, 7), **batch_norm("bn1", 64)}
    width = 64
    for stage, size in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            place = f"layer{stage}.{block}"
            made |= {f"{place}.conv1.weight": (size, width, 3, 3), **batch_norm(f"{place}.bn1", size)}
            made |= {f"{place}.conv2.weight": (size, size, 3, 3), **batch_norm(f"{place}.bn2", size)}
            if width != size:
                made |= {f"{place}.downsample.0.weight": (size, width, 1, 1), **batch_norm(f"{place}.downsample.1", size)}
            width = size
    return made | layers("", {"fc": (1000, 512)})


def vit(depth: int = 4, size: int = 64, prefix: str = "blocks", names: Sequence[str] = (), extra: Shapes | None = None) -> Shapes:
    """A vision transformer; `names` are those of a block's six layers, `extra` more layers in each block."""
    names = names or ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    shapes = ((size,), (3 * size, size), (size, size), (size,), (4 * size, size), (size, 4 * size))
    made: Shapes = {"pos_embed": (1, 50, size), **layers("patch_embed.", {"proj": (size, 3, 16, 16)})}
    for index in range(depth):
        made |= layers(f"{prefix}.{index}.", {**dict(zip(names, shapes, strict=True)), **(extra or {})})
    return made | layers("", {"norm": (size,), "head": (10, size)})


def renamed(shapes: Shapes, pairs: Mapping[str, str]) -> tuple[Shapes, dict[str, str]]:
    """The header with parts of names replaced, in the order of the pairs; and old key -> new key."""
    names = {}
    for key in shapes:
        name = key
        for old, new in pairs.items():
            name = name.replace(old, new)
        names[key] = name
    return {names[key]: shape for key, shape in shapes.items()}, names


def scrambled(shapes: Shapes, seed: int, numbers: bool) -> tuple[Shapes, dict[str, str]]:
    """Each module's name replaced by a word without meaning, numbers too or not; and old key -> new key."""
    generator = random.Random(seed)
    words: dict[str, str] = {}
    names = {}
    for key in shapes:
        *parents, leaf = key.split(".")
        for name in parents:
            if numbers or not name.isdigit():
                words.setdefault(name, "".join(generator.choice("bdfgklmnprstvz") + generator.choice("aeiou") for _ in range(3)))
        names[key] = ".".join([*(words.get(name, name) for name in parents), leaf])
    return {names[key]: shape for key, shape in shapes.items()}, names


def calls(run: Callable[[], object]) -> int:
    """How many functions of the package are called: its work, whatever else the machine does."""
    count = 0

    def watch(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call" and "ckpt_surgeon" in frame.f_code.co_filename

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def answers(mapping: KeyMapping) -> dict[str, tuple[str, ...]]:
    """Target key -> source keys, of the families which are sure."""
    return _links(family.links for family in mapping.families if family.confidence >= MIN_CONFIDENCE)


def questions(mapping: KeyMapping) -> dict[str, tuple[str, ...]]:
    """Target key -> source keys, of the families which are not sure."""
    return _links(family.links for family in mapping.families if family.confidence < MIN_CONFIDENCE)


def doubts(mapping: KeyMapping) -> str:
    """All doubts in one text."""
    return "; ".join(family.doubt for family in mapping.families)


def _links(groups: Iterable[Iterable[Link]]) -> dict[str, tuple[str, ...]]:
    return {key: link.sources for links in groups for link in links for key in link.targets}
