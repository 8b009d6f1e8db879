"""When does a step's arithmetic take as long as its all-reduce? A model of public peak numbers; nothing was run.

    arithmetic      operations / (share of the peak x peak)
    all-reduce      2 (n - 1) / n x bytes / bandwidth, a ring of n chips: each sends every byte about twice

The two add up: the one sum waits for the last gradient. Latency is left out, as are the host and the memory.
"""

from __future__ import annotations

from typing import NamedTuple


class Machine(NamedTuple):
    """Public figures of a chip.

    `peak` is operations per second by precision; `bandwidths` bytes per second that it sends, by the most chips of
    which that holds, in rising order.
    """

    name: str
    peak: dict[str, float]
    bandwidths: dict[int, float]

    @property
    def chips(self) -> int:
        """The most that the figures are of."""
        return max(self.bandwidths)


MACHINES = {
    # docs.cloud.google.com/tpu/docs/v5e: 400 GB/s are both directions; float32 products are one pass of bfloat16
    "tpu-v5e": Machine("TPU v5e", {"float32": 197e12, "bfloat16": 197e12}, {256: 200e9}),
    # NVIDIA's data sheets of the H100 SXM, dense, and the DGX H100: 900 GB/s of NVLink are both directions; past eight
    # GPUs a machine's eight ports of 400 Gb/s carry one ring each; float32 products are TF32
    "h100": Machine("H100", {"float32": 494.7e12, "bfloat16": 989.4e12}, {8: 450e9, 256: 400e9}),
}
SHARES = (1.0, 0.1)  # of the peak: what no net reaches, and what one of few channels may


def arithmetic_seconds(operations: float, machine: Machine, precision: str, share: float) -> float:
    """Of so many operations on one chip."""
    return operations / (share * machine.peak[precision])


def all_reduce_seconds(size: float, chips: int, machine: Machine) -> float:
    """Of so many bytes, summed over the chips."""
    bandwidth = next(bandwidth for most, bandwidth in machine.bandwidths.items() if chips <= most)
    return 2 * (chips - 1) / chips * size / bandwidth


def equal_batch(of_an_image: float, size: float, chips: int, machine: Machine) -> float:
    """Images a chip at which both take as long, from the seconds of one image's arithmetic."""
    return all_reduce_seconds(size, chips, machine) / of_an_image


def equal_chips(of_an_image: float, size: float, images: int, machine: Machine) -> int | None:
    """The fewest chips, sharing so many images, whose all-reduce takes as long; None where no number has them."""
    for chips in range(2, machine.chips + 1):
        if all_reduce_seconds(size, chips, machine) >= images / chips * of_an_image:
            return chips
    return None
