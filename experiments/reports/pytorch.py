"""The same convolutions in PyTorch, eager, in the layout of its own: channels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Call = Callable[[], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution of x and a kernel, for `Report.in_pytorch`.

    Attributes:
        x, kernel: the axes of those arrays in PyTorch's order: (N, C, *spatial) and (O, I, *taps); of a transposed
            convolution (I, O, *taps), and its taps are reversed.
        stride, padding, dilation, groups: as PyTorch has them.
        transposed: whether it is one.
        cut: how many places at the end of each spatial axis are left out of the result.
        gradients: whether the gradients are computed too, along the cosine of the value.
    """

    x: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int | str = 0
    dilation: int = 1
    groups: int = 1
    transposed: bool = False
    cut: int = 0
    gradients: bool = False

    def __call__(self, x: np.ndarray, kernel: np.ndarray) -> Call:
        """A call with these arrays, which are laid out before; its results are views in the arrays' own layouts."""
        import torch
        from torch.nn import functional as F

        axes = len(self.x) - 2
        name = f"conv_transpose{axes}d" if self.transposed else f"conv{axes}d"
        options = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        taps = tuple(range(2, 2 + axes))
        laid_out = [torch.from_numpy(np.array(a).transpose(o).copy()) for a, o in ((x, self.x), (kernel, self.kernel))]
        if self.transposed:
            laid_out[1] = laid_out[1].flip(taps)

        def back(array: Any, order: tuple[int, ...]) -> Any:
            return array.detach().permute([order.index(axis) for axis in range(len(order))])

        def call() -> Sequence[Any]:
            leaves = [array.detach().requires_grad_(self.gradients) for array in laid_out]
            y = getattr(F, name)(*leaves, **options)
            y = y[(..., *[slice(n - self.cut) for n in y.shape[2:]])]
            if not self.gradients:
                return (back(y, self.x),)
            dx, dk = torch.autograd.grad(y, leaves, torch.cos(y.detach()))
            return back(y, self.x), back(dx, self.x), back(dk.flip(taps) if self.transposed else dk, self.kernel)

        return call


def max_pool_2x2(x: np.ndarray) -> Call:
    """A max pool of images with their channels last."""
    import torch
    from torch.nn import functional as F

    images = torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy())
    return lambda: (F.max_pool2d(images, 2).permute(0, 2, 3, 1),)
