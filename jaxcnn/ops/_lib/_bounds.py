"""What an op may unroll into its program, and lay out beside its arguments and its result: the bounds, in one place.

What is written once for each tap of a window makes programs that take minutes to compile where windows are large, and
what is laid out once for each tap fills the memory. Beyond these bounds an op takes another way, or a loop.
"""

from __future__ import annotations

UNROLLED = 64  # taps, phases or parts that a program spells out, one after another
LAID_OUT = 2**26  # bytes, plus four times arguments and result


def may_lay_out(size: int, of_arguments_and_result: int) -> bool:
    """Whether `size` bytes are within the bound for arguments and a result of so many."""
    return size <= LAID_OUT + 4 * of_arguments_and_result
