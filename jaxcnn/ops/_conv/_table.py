"""Which algorithm "auto" takes: that of the first row that fits and is within the bounds; otherwise `direct`.

The measurements are of 2 cores in float32 (`jaxcnn bench ops --tune`; experiments/speed).

- On a CPU no row has `direct` for kernel gradients: in a loop's body XLA computes it naively, tens of times slower;
  `canonical` avoids that. Of dense ones `im2col` was up to 1.5 times as fast on one machine, and 0.33 to 1.5 times on
  another, whole models with it slower than plain (experiments/models), and compiling two to four times as long. So it
  has the rows where both machines gained, and `canonical`, which is lax's own convolution, all others.
- `winograd2` was never the fastest; `winograd4` was for three problems, by at most 1.12 times. They and `fft` are not
  here: their rounding and NaN reach beyond a window. `toeplitz`, `split` and `phases` run where all is finite
  (`_finite`).
- XLA fuses a sum of `taps` into each of its readers and computes it in each again. For one channel it is two to four
  times as fast as `toeplitz` when timed alone, and a third as fast in [V]'s training step.
- If dx does not fit the cache, adding nine taps to it one by one costs more than writing phases once.
- On other platforms `direct` is cuDNN's or the TPU's own, except for dilated kernel gradients on CUDA, as programs
  compiled for an H100 show (`jaxcnn bench compiled`, experiments/accelerators).
"""

from __future__ import annotations

from math import prod

from jaxcnn.ops._conv._algorithms._overhang import longer
from jaxcnn.ops._conv._problem import Problem
from jaxcnn.ops._conv._row import Measured, Row, example


def _is_few(problem: Problem) -> bool:
    narrow = problem.window.shape[-1] <= 16 * problem.window.size[-1]
    return problem.groups == 1 and problem.c_in <= 2 and problem.c_out <= 4 and narrow and problem.window.tap_count > 1


def _is_depthwise(problem: Problem) -> bool:
    return problem.groups == problem.c_in > 1


def _is_grouped(problem: Problem) -> bool:
    return problem.groups > 1


def _is_strided(problem: Problem) -> bool:
    return max(problem.window.stride) > 1


def _leaves_wide_gaps(problem: Problem) -> bool:
    return max(problem.window.stride) > 2 or (_is_strided(problem) and problem.window.tap_count > 25)


def _is_one_tap(problem: Problem) -> bool:
    return problem.groups == 1 and problem.window.tap_count == 1


def _is_1x1(problem: Problem) -> bool:
    return _is_one_tap(problem) and len(problem.window.shape) == 2


def _is_small(problem: Problem) -> bool:
    return (
        problem.groups == 1
        and len(problem.window.shape) == 2
        and 1 < problem.window.tap_count <= 4
        and not _is_strided(problem)
    )


def _has_volume(problem: Problem) -> bool:
    return problem.groups == 1 and len(problem.window.shape) > 2 and problem.window.tap_count > 1


def _has_small_patches(problem: Problem) -> bool:
    """At most 2^22 numbers; with twelve million a network of voxels took 1.3 times as long as by `direct`."""
    return problem.images is not None and (
        problem.images * prod(problem.window.out) * problem.window.tap_count * problem.c_in <= 2**22
    )


def _has_many_elements(problem: Problem) -> bool:
    return problem.images is not None and problem.images * prod(problem.window.shape) * problem.c_in >= 2**22


TABLE = (
    Row(
        "cpu",
        "correlate",
        "few channels",
        _is_few,
        example((1, 8, 8, 1), (3, 3, 1, 2)),
        "toeplitz",
        Measured(2.73, 6.59, 16.7, 7),
    ),
    Row(
        "cpu",
        "correlate",
        "depthwise",
        _is_depthwise,
        example((1, 8, 8, 4), (3, 3, 1, 4), groups=4),
        "taps",
        Measured(12.45, 29.28, 47.7, 13),
    ),
    Row(
        "cpu",
        "correlate",
        "grouped",
        _is_grouped,
        example((1, 8, 8, 4), (3, 3, 2, 4), groups=2),
        "split",
        Measured(2.27, 8.50, 11.6, 14),
    ),
    Row(
        "cpu",
        "correlate",
        "1 to at most 4 channels, wide",
        lambda p: p.c_in == 1 and p.c_out <= 4,
        example((1, 8, 49, 1), (3, 3, 1, 2)),
        "taps",
        Measured(22.78, 31.69, 40.6, 2),
    ),
    Row(
        "cpu",
        "correlate",
        "1x1, strided or of 1 or at least 32 channels",
        lambda p: _is_1x1(p) and (_is_strided(p) or not 1 < p.c_in < 32),
        example((1, 8, 8, 32), (1, 1, 32, 8)),
        "taps",
        Measured(0.92, 1.63, 3.5, 14),
    ),
    Row(
        "cpu",
        "correlate",
        "2-D of at most 4 channels, 2 to 4 taps",
        lambda p: p.c_in <= 4 and _is_small(p),
        example((1, 8, 8, 3), (2, 2, 3, 8)),
        "im2col",
        Measured(1.67, 2.09, 2.5, 2),
    ),
    Row(
        "cpu",
        "correlate",
        "2-D that direct computes on one core",
        lambda p: longer("correlate", p) is not None,
        example((128, 16, 16, 8), (3, 3, 8, 32), padding=1),
        "direct",
        Measured(1.45, 1.60, 1.7, 7),
    ),
    Row(
        "cpu",
        "correlate",
        "3-D of 1 channel",
        lambda p: _has_volume(p) and p.c_in == 1,
        example((1, 4, 4, 4, 1), (2, 2, 2, 1, 8)),
        "toeplitz",
        Measured(6.50, 6.50, 6.5, 1),
    ),
    Row(
        "cpu",
        "input_gradient",
        "few channels",
        _is_few,
        example((1, 8, 8, 2), (3, 3, 2, 4)),
        "toeplitz",
        Measured(2.69, 8.81, 18.9, 7),
    ),
    Row(
        "cpu",
        "input_gradient",
        "depthwise, strided, over 9 taps",
        lambda p: _is_depthwise(p) and _is_strided(p) and (p.window.tap_count > 9),
        example((1, 8, 8, 4), (5, 5, 1, 4), groups=4, stride=2),
        "split",
        Measured(24.65, 31.97, 36.4, 3),
    ),
    Row(
        "cpu",
        "input_gradient",
        "depthwise",
        _is_depthwise,
        example((1, 8, 8, 4), (3, 3, 1, 4), groups=4),
        "taps",
        Measured(27.13, 41.36, 226.3, 10),
    ),
    Row(
        "cpu",
        "input_gradient",
        "grouped",
        _is_grouped,
        example((1, 8, 8, 4), (3, 3, 2, 4), groups=2),
        "split",
        Measured(2.39, 8.70, 11.4, 14),
    ),
    Row(
        "cpu",
        "input_gradient",
        "1 to 1 channel, wide",
        lambda p: p.c_in == p.c_out == 1,
        example((1, 8, 49, 1), (3, 3, 1, 1)),
        "taps",
        Measured(42.70, 42.70, 42.7, 1),
    ),
    Row(
        "cpu",
        "input_gradient",
        "1x1 to at most 4 or at least 32 channels",
        lambda p: _is_1x1(p) and (not 4 < p.c_in < 32),
        example((1, 8, 8, 32), (1, 1, 32, 8)),
        "taps",
        Measured(1.17, 1.77, 4.4, 13),
    ),
    Row(
        "cpu",
        "input_gradient",
        "3-D to 1 channel",
        lambda p: _has_volume(p) and p.c_in == 1,
        example((1, 4, 4, 4, 1), (2, 2, 2, 1, 8)),
        "toeplitz",
        Measured(16.82, 16.82, 16.8, 1),
    ),
    Row(
        "cpu",
        "input_gradient",
        "to at most 4 of at most 32 channels, strided by 2, over 25 taps",
        lambda p: (
            p.c_in <= 4
            and p.c_out <= 32
            and (max(p.window.stride) == 2)
            and (p.window.tap_count > 25)
            and (p.window.shape[-1] <= 32)
        ),
        example((1, 14, 14, 3), (7, 7, 3, 8), stride=2),
        "toeplitz",
    ),
    Row(
        "cpu",
        "input_gradient",
        "to at most 4 channels, strided by over 2, or strided and over 25 taps",
        lambda p: p.c_in <= 4 and _leaves_wide_gaps(p),
        example((1, 9, 9, 3), (3, 3, 3, 64), stride=3),
        "direct",
        Measured(0.95, 1.02, 1.1, 2),
    ),
    Row(
        "cpu",
        "input_gradient",
        "to at most 4 channels",
        lambda p: p.c_in <= 4 and p.window.tap_count > 1,
        example((1, 8, 8, 3), (3, 3, 3, 8)),
        "im2col",
        Measured(0.82, 3.60, 8.0, 19),
    ),
    Row(
        "cpu",
        "input_gradient",
        "3-D, strided or of small patches",
        lambda p: _has_volume(p) and (_is_strided(p) or _has_small_patches(p)),
        example((1, 4, 4, 4, 8), (2, 2, 2, 8, 8)),
        "im2col",
        Measured(3.93, 3.93, 3.9, 1),
    ),
    Row(
        "cpu",
        "input_gradient",
        "2-D to at least 32 channels, 2 to 4 taps",
        lambda p: p.c_in >= 32 and _is_small(p),
        example((1, 8, 8, 32), (2, 2, 32, 8)),
        "im2col",
        Measured(1.24, 1.82, 1.9, 4),
    ),
    Row(
        "cpu",
        "input_gradient",
        "2-D that direct computes on one core",
        lambda p: longer("input_gradient", p) is not None,
        example((128, 16, 16, 32), (3, 3, 32, 8), padding=1),
        "direct",
        Measured(1.43, 1.60, 1.7, 7),
    ),
    Row(
        "cpu",
        "input_gradient",
        "strided, at most 16 to at most 16 channels",
        lambda p: _is_strided(p) and max(p.c_in, p.c_out) <= 16,
        example((1, 8, 8, 16), (3, 3, 16, 8), stride=2),
        "phases",
        Measured(0.95, 2.40, 4.0, 8),
    ),
    Row(
        "cpu",
        "input_gradient",
        "strided, dx of at least 4 million elements",
        lambda p: _is_strided(p) and _has_many_elements(p),
        example((64, 64, 64, 32), (3, 3, 32, 8), stride=2),
        "phases",
        Measured(2.24, 2.24, 2.2, 1),
    ),
    Row(
        "cpu",
        "input_gradient",
        "strided, at most 9 taps",
        lambda p: _is_strided(p) and p.window.tap_count <= 9,
        example((1, 8, 8, 32), (3, 3, 32, 8), stride=2),
        "taps",
        Measured(0.97, 1.27, 17.4, 8),
    ),
    Row(
        "cpu",
        "input_gradient",
        "strided",
        _is_strided,
        example((1, 8, 8, 32), (5, 5, 32, 8), stride=2),
        "phases",
        Measured(0.75, 1.18, 9.2, 3),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "few channels, of 1",
        lambda p: p.c_in == 1 and _is_few(p),
        example((1, 8, 8, 1), (3, 3, 1, 1)),
        "toeplitz",
        Measured(0.84, 1.54, 1.8, 5),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "grouped",
        _is_grouped,
        example((1, 8, 8, 4), (3, 3, 2, 4), groups=2),
        "taps",
        Measured(2.39, 25.10, 99.2, 27),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "one tap",
        _is_one_tap,
        example((1, 8, 8, 32), (1, 1, 32, 8)),
        "taps",
        Measured(1.10, 3.40, 11.9, 22),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "of 1 channel, below 49 taps, or 25 if strided",
        lambda p: p.c_in == 1 and p.window.tap_count < (25 if _is_strided(p) else 49),
        example((1, 8, 8, 1), (5, 5, 1, 32)),
        "im2col",
        Measured(0.89, 1.76, 7.9, 12),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "2-D, 2 to 4 taps",
        _is_small,
        example((1, 8, 8, 32), (2, 2, 32, 8)),
        "im2col",
        Measured(1.06, 1.53, 2.0, 7),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "3-D",
        _has_volume,
        example((1, 4, 4, 4, 8), (2, 2, 2, 8, 8)),
        "im2col",
        Measured(1.76, 1.76, 1.8, 1),
    ),
    Row(
        "cpu",
        "kernel_gradient",
        "all others",
        lambda p: True,
        example((1, 8, 8, 8), (3, 3, 8, 32)),
        "canonical",
        Measured(0.84, 1.01, 1.3, 72),
    ),
    Row(
        "cuda",
        "kernel_gradient",
        "dilated, not strided",
        lambda p: p.groups == 1,
        example((1, 9, 8, 8), (3, 3, 8, 32), dilation=2),
        "space_to_batch",
    ),
)
