"""Claim: beside a LeNet's training, checkpoints every 100 steps cost under 3 %, and streaming its batches under 10 %.

Machine: two cores of a shared CPU. Runs: 96 rounds of 24 steps each way, in random order, in one process.

Each way is a training of its own of `lenet`, batch 128, Adam, all compiled before the clock starts. A round of
"checkpoints" begins one, takes its steps while it is written, and waits until it is. "streamed from memory" and
"streamed from the disk" read through Grain, the latter what TensorFlow Datasets prepared of MNIST, image by image;
their rounds last until the batches of the next round that are read ahead are read too.

A round's overhead is a way's time divided by that of "resident" in the same round, less 1, and the claim is judged by
the median over the rounds, with its 95 % interval: the host changes its speed by a third within minutes, so that only
neighbours compare. One checkpoint in 100 steps costs 24/100 of one in 24.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import optax
import typer
from rich.progress import Progress

from experiments import report
from jaxcnn import data, train
from jaxcnn.checkpoints import Checkpoints
from jaxcnn.nets import lenet

RESULT = Path(__file__).parent / "results" / "overhead.json"
STEPS, BATCH = 24, 128
STEPS_A_CHECKPOINT = 100
FOREVER = 10_000


def overhead(
    source: Annotated[Path | None, typer.Option(help="Folder of MNIST's original files, if not prepared yet.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each way is timed.")] = 96,
    seed: Annotated[int, typer.Option(help="What the order of the ways is drawn from.")] = 0,
) -> None:
    """Time all ways in turns, and write results/overhead.json."""
    optimizer = optax.adam(1e-3)
    step = train.make_train_step(lenet.apply, optimizer)
    state = train.init_state(lenet.init(jax.random.key(0)), optimizer, jax.random.key(1))
    digits = data.load("mnist", source=source).train

    def resident() -> Iterator[train.Report]:
        return train.fit(state, step, *digits, epochs=FOREVER, batch_size=BATCH, pause_every=STEPS)

    def streamed(way: str) -> Iterator[train.Report]:
        return train.fit_stream(state, step, data.Stream(sources[way], BATCH), epochs=FOREVER, pause_every=STEPS)

    sources = {
        "streamed from memory": _Timed(data.ArraySource(digits)),
        "streamed from the disk": _Timed(data.stream("mnist").train),
    }
    reports = {"resident": resident(), "checkpoints": resident(), **{way: streamed(way) for way in sources}}
    last = {way: _one_round(of_way) for way, of_way in reports.items()}
    seconds: dict[str, list[float]] = {way: [] for way in reports}
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints, Progress() as progress:
        for _ in progress.track(range(rounds), description="rounds"):
            for way in draw.sample(list(reports), len(reports)):
                started = time.perf_counter()
                if way == "checkpoints":
                    checkpoints.save(last[way].state, last[way].totals, {})
                last[way] = _one_round(reports[way])
                if way == "checkpoints":
                    checkpoints.wait()
                ended = time.perf_counter()
                if way in sources:
                    ended = max(ended, sources[way].came_to_rest())
                seconds[way].append(ended - started)
    report.write(
        RESULT,
        seed,
        {
            "net": "lenet",
            "batch": BATCH,
            "steps a round": STEPS,
            "rounds": rounds,
            "steps a checkpoint": STEPS_A_CHECKPOINT,
            "ways": {
                way: {
                    "ms per step, min": round(1e3 * min(of_way) / STEPS, 2),
                    "ms per step, median": round(1e3 * statistics.median(of_way) / STEPS, 2),
                    "overhead": _overhead(
                        of_way, seconds["resident"], STEPS_A_CHECKPOINT if way == "checkpoints" else STEPS
                    ),
                }
                for way, of_way in seconds.items()
            },
        },
    )


class _Timed:
    """A source that knows when it was last read from."""

    def __init__(self, source: data.Source) -> None:
        self._source = source
        self._last_read = time.perf_counter()

    def __len__(self) -> int:
        return len(self._source)

    def read(self, numbers: np.ndarray) -> data.Split:
        """These examples."""
        found = self._source.read(numbers)
        self._last_read = time.perf_counter()
        return found

    def came_to_rest(self) -> float:
        """Wait until nothing has been read for a while, and say since when."""
        while time.perf_counter() - self._last_read < 0.1:
            time.sleep(0.01)
        return self._last_read


def _one_round(reports: Iterator[train.Report]) -> train.Report:
    for found in reports:
        if found.step % STEPS == 0:
            return found
    raise AssertionError("the training has an end")


def _overhead(of_way: list[float], of_resident: list[float], steps: int) -> dict[str, float]:
    """What a round costs more than that of `resident`, as a share of `steps` steps: the median and its 95 % interval.

    As many of n rounds lie below their median as heads fall in n throws, n/2 +- 0.98 sqrt(n) in 95 % of all cases.
    """
    shares = sorted((a / b - 1) * STEPS / steps for a, b in zip(of_way, of_resident, strict=True))
    below = max(0, math.floor(len(shares) / 2 - 0.98 * math.sqrt(len(shares))))
    found = {"median": statistics.median(shares), "from": shares[below], "to": shares[-1 - below]}
    return {name: round(share, 4) for name, share in found.items()}


if __name__ == "__main__":
    typer.run(overhead)
