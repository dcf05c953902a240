"""adapt_in_channels: the weight of a layer for inputs with another number of channels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, one_of
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import check_weights, narrowed, widened
from ckpt_surgeon.ops.protocol import Arity, Contract
from ckpt_surgeon.ops.shaping import bounded, dim_within, one_input, target_size
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["AdaptInChannels"]

_MODES = ("mean", "repeat", "sum", "zero", "select")
_RESCALES = ("none", "sum_preserving")
_COLORS = 3  # what a space-to-depth stem holds for each of its pixels


@dataclass(frozen=True, slots=True)
class AdaptInChannels(TensorDefaults):
    """Make a weight `[out, in / groups, *kernel]` (any number of kernel dims, none included) take n input channels.

    With `i` the weight's channels now and `n` those wanted, both per group:

    - `mean`: each new channel is the mean of the old ones. Source: Wang et al., Temporal Segment Networks, 2016
      (cross-modality initialization), and its `_construct_flow_model`.
    - `repeat`: the old channels tiled and cut to n, times i / n. Source: timm's `adapt_input_conv` (i = 3).
    - `sum`: n = 1, the sum of the old channels; or n = i / 3, for a space-to-depth stem: the sum over each pixel's three
      colors. Source: timm's `adapt_input_conv` for one channel.
    - `zero`: the old channels, and new ones of 0 behind them: the function stays while these see anything.
    - `select`: `channels` gives for each new channel the old one, or None for zeros.

    rescale: `sum_preserving` multiplies by i over the number of new channels which carry weights, so that the response to
    an input with all channels alike keeps its size; `none` does not. Left out, it is each mode's own: `sum_preserving` for
    `repeat`, as timm has it, `none` for all others, as TSN has it for `mean`.
    in_channels: the layer's, so n times `groups`; or `target`. channels: within a group. dim: where the channels stand.

    >>> op = AdaptInChannels("mean", in_channels=10)
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3, 7, 7),)))
    f32[64, 10, 7, 7]
    """

    name: ClassVar[str] = "adapt_in_channels"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    mode: Literal["mean", "repeat", "sum", "zero", "select"]
    in_channels: int | Literal["target"] | None = None
    channels: tuple[int | None, ...] | None = None
    rescale: Literal["none", "sum_preserving"] | None = None
    dim: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        one_of(self.mode, _MODES, f"{self.name}: mode")
        integer(self.dim, f"{self.name}: dim")
        if integer(self.groups, f"{self.name}: groups") < 1:
            raise RulesError(f"{self.name}: groups is {self.groups}; 1 or more is wanted")
        if self.rescale is not None:
            one_of(self.rescale, _RESCALES, f"{self.name}: rescale")
        if self.in_channels not in (None, "target") and integer(self.in_channels, f"{self.name}: in_channels") < 1:
            raise RulesError(f"{self.name}: in_channels is {self.in_channels}; 1 or more is wanted")
        if isinstance(self.in_channels, int) and self.in_channels % self.groups:
            raise RulesError(f"{self.name}: in_channels {self.in_channels} does not divide by {self.groups} groups")
        self._check_channels()

    def _check_channels(self) -> None:
        if (self.mode == "select") != (self.channels is not None):
            wants = "wants" if self.mode == "select" else "takes no"
            raise RulesError(f"{self.name}: mode {self.mode} {wants} channels: a list with an old channel for each new one")
        if self.channels is None:
            if self.in_channels is None:
                raise RulesError(f"{self.name}: in_channels is missing", hint="A number, or `in_channels: target`.")
            return
        if not isinstance(self.channels, list | tuple) or not self.channels:
            raise RulesError(f"{self.name}: channels is {self.channels!r}; a list is wanted, such as [2, 1, 0]")
        assign(self, channels=tuple(self.channels))
        if any(channel is not None and integer(channel, f"{self.name}: channels") < 0 for channel in self.channels):
            raise RulesError(f"{self.name}: channels {list(self.channels)} holds a negative number; they count from 0")
        if isinstance(self.in_channels, int) and self.in_channels != len(self.channels) * self.groups:
            raise RulesError(f"{self.name}: {len(self.channels)} channels for each of {self.groups} groups are not {self.in_channels}")

    @property
    def needs_target(self) -> bool:
        """Whether the number of channels is the target's."""
        return self.in_channels == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> AdaptInChannels:
        """With the target's number of channels, if it is to be that."""
        if self.in_channels != "target":
            return self
        if targets is None:
            raise RulesError(f"{self.name}: in_channels is the target's, and there is none", hint="Give a target, or a number.")
        channels = target_size(one_input(targets, self.name), self.dim, self.name)
        return replace(self, in_channels=channels * self.groups)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with n channels."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        check_weights(spec, self.name)
        if self.groups > 1 and self.dim == 1 and spec.shape[0] % self.groups:
            raise RulesError(f"{self.name}: dim 0 of {spec} does not divide by {self.groups} groups")
        wanted = self._wanted()
        self._check_sizes(spec.shape[dim], wanted, dim, spec)
        return (bounded((*spec.shape[:dim], wanted, *spec.shape[dim + 1 :]), spec.dtype, self.name),)

    def _wanted(self) -> int:
        if self.channels is not None:
            return len(self.channels)
        if not isinstance(self.in_channels, int):
            raise RulesError(f"{self.name}: in_channels is the target's, and there is none", hint="Give a target, or a number.")
        return self.in_channels // self.groups

    def _check_sizes(self, size: int, wanted: int, dim: int, spec: TensorSpec) -> None:
        of = f"{self.name}: dim {dim} of {spec} has {size} channels"
        if size == 0:
            raise RulesError(f"{of}; there is nothing to adapt")
        if self.mode == "zero" and wanted < size:
            raise RulesError(f"{of}, more than {wanted}", hint="`zero` only adds; `select` says which channels stay.")
        if self.mode == "sum" and wanted != 1 and wanted * _COLORS != size:
            fits = f"1, or {size // _COLORS} for a space-to-depth stem" if size > _COLORS and size % _COLORS == 0 else "1"
            raise RulesError(f"{of}; their sum is not {wanted} channels", hint=f"What fits: {fits}.")
        beyond = [channel for channel in self.channels or () if channel is not None and channel >= size]
        if beyond:
            raise RulesError(f"{of}, so none is number {beyond[0]}", hint=f"Channels which fit: 0..{size - 1}.")

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The adapted weight; computed in float32, or float64 where it is that, and cast back."""
        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        whole = widened(tensor).contiguous()  # sums of one order whatever the strides, and so of the same bytes
        adapted = self._adapted(whole.movedim(dim, 0), self._wanted())
        return (narrowed(adapted.movedim(0, dim), tensor.dtype, self.name),)

    def _adapted(self, old: torch.Tensor, wanted: int) -> torch.Tensor:
        """`[i, ...] -> [n, ...]`."""
        size = len(old)
        if self.mode == "mean":
            return old.mean(0, keepdim=True).repeat(wanted, *[1] * (old.dim() - 1)) * self._factor(size, wanted)
        if self.mode == "sum":
            return old.reshape(wanted, size // wanted, *old.shape[1:]).sum(1)
        sources = self._sources(size, wanted)
        new = old.new_zeros((wanted, *old.shape[1:]))
        for i, channel in enumerate(sources):
            if channel is not None:
                new[i] = old[channel]
        return new * self._factor(size, sum(channel is not None for channel in sources))

    def _sources(self, size: int, wanted: int) -> tuple[int | None, ...]:
        if self.channels is not None:
            return self.channels
        if self.mode == "repeat":
            return tuple(i % size for i in range(wanted))
        return tuple(i if i < size else None for i in range(wanted))

    def _factor(self, size: int, carriers: int) -> float:
        """What keeps the sum over all channels, where that is wanted."""
        rescale = self.rescale or ("sum_preserving" if self.mode == "repeat" else "none")
        return size / carriers if rescale == "sum_preserving" and carriers else 1.0
