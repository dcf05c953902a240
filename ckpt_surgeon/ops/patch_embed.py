"""resample_patch_embed: the patch embedding of a vision transformer for patches of another size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, one_of, truth
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.grids import grid_or
from ckpt_surgeon.ops.precision import check_weights, narrowed
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import bounded, filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["ResamplePatchEmbed"]

_INTERPOLATIONS = ("bicubic", "bilinear")
_MOST = 4096  # elements of a patch, which the resize matrix has squared: 64 x 64 pixels


@dataclass(frozen=True, slots=True)
class ResamplePatchEmbed(TensorDefaults):
    """Resample a patch embedding `[out, in, kh, kw]` so that it answers to a resized patch as it did to the patch itself.

    With B the matrix which resizes a patch from `[kh, kw]` to the new size, each kernel w becomes `pinv(B)^T w`: the new kernel
    whose answer to `B x` is the old one's to x, exactly where the size grows, else as near as least squares come. Always computed in
    float32, cast back. Source: Beyer et al., FlexiViT, 2023, and timm's `resample_patch_embed`.

    patch_size: `[h, w]`, or `target`. antialias: as torch has it; it matters for a smaller size only.

    >>> op = ResamplePatchEmbed(patch_size=(14, 14))
    >>> print(*op.infer((TensorSpec.of("float32", 768, 3, 16, 16),)))
    f32[768, 3, 14, 14]
    """

    name: ClassVar[str] = "resample_patch_embed"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    patch_size: tuple[int, int] | Literal["target"]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True

    def __post_init__(self) -> None:
        assign(self, patch_size=grid_or(self.patch_size, "target", f"{self.name}: patch_size"))
        one_of(self.interpolation, _INTERPOLATIONS, f"{self.name}: interpolation")
        truth(self.antialias, f"{self.name}: antialias")

    @property
    def needs_target(self) -> bool:
        """Whether the size is the target's."""
        return self.patch_size == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> ResamplePatchEmbed:
        """With the target's size, if it is to be that."""
        if self.patch_size != "target":
            return self
        if targets is None:
            raise self._lacks_target()
        return replace(self, patch_size=self._kernel(one_input(targets, self.name), "the target's "))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the new kernel."""
        spec = one_input(specs, self.name)
        check_weights(spec, self.name, is_real=True)
        old, new = self._kernel(spec), self._size()
        for size in (old, new):
            if size[0] * size[1] > _MOST:
                raise RulesError(f"{self.name}: a patch of {size[0]} x {size[1]} is too large", hint=f"Up to {_MOST} elements fit.")
        return (bounded((*spec.shape[:2], *new), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The resampled kernels."""
        import torch

        (tensor,) = tensors
        out, channels, *old = tensor.shape
        new = self._size()
        if tuple(old) == new:
            return (tensor.detach().clone(memory_format=torch.contiguous_format),)
        kernels = tensor.detach().reshape(out, channels, -1).to(torch.float32).contiguous()
        inverse = torch.linalg.pinv(self._resize_matrix((old[0], old[1]), new))
        return (narrowed((kernels @ inverse).reshape(out, channels, *new), tensor.dtype, self.name),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, where the size stays."""
        return (filled([Run(0, 0, specs[0].nbytes)]),) if self.infer(specs) == specs else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The op itself, where the size stays."""
        return self if self.infer(specs) == specs else None

    def _resize_matrix(self, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
        """`[new h * new w, h * w]`: each column is what becomes of a patch with a single 1."""
        import torch

        patches = torch.eye(old[0] * old[1]).reshape(-1, 1, *old)
        resized = torch.nn.functional.interpolate(patches, size=new, mode=self.interpolation, antialias=self.antialias, align_corners=False)
        return resized.squeeze(1).permute(1, 2, 0).reshape(new[0] * new[1], old[0] * old[1])

    def _kernel(self, spec: TensorSpec, whose: str = "") -> tuple[int, int]:
        if len(spec.shape) != 4 or not spec.numel:
            raise RulesError(f"{self.name}: {whose}{spec} is no patch embedding", hint="What fits: [out, in, h, w], none of them 0.")
        return spec.shape[2], spec.shape[3]

    def _size(self) -> tuple[int, int]:
        if self.patch_size == "target":
            raise self._lacks_target()
        return self.patch_size

    def _lacks_target(self) -> RulesError:
        return RulesError(f"{self.name}: patch_size is the target's, and there is none", hint="Give a target, or [h, w].")
