"""Claim: beside a LeNet's training, checkpoints every 100 steps cost under 3 %, and streaming its batches under 10 %.

Machine: two cores of a shared CPU. Runs: 16 rounds of 100 steps each way, in random order, in one process.

Each way is a training of its own of `lenet`, batch 128, Adam, all compiled before the clock starts. A round of
"checkpoints" begins one, takes 100 steps while it is written, and waits until it is. "streamed from memory" and
"streamed from the disk" read through Grain, the latter what TensorFlow Datasets prepared of MNIST, image by image.

The claim is judged by the median over the rounds of a way's time divided by that of "resident" in the same round: the
host changes its speed by a third within minutes, and minima of different ways meet different hosts.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jax
import optax
import typer
from rich.progress import Progress

from experiments import report
from jaxcnn import data, train
from jaxcnn.checkpoints import Checkpoints
from jaxcnn.nets import lenet

RESULT = Path(__file__).parent / "results" / "overhead.json"
STEPS, BATCH = 100, 128
FOREVER = 10_000


def overhead(
    source: Annotated[Path | None, typer.Option(help="Folder of MNIST's original files, if not prepared yet.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each way is timed.")] = 16,
    seed: Annotated[int, typer.Option(help="What the order of the ways is drawn from.")] = 0,
) -> None:
    """Time all ways in turns, and write results/overhead.json."""
    optimizer = optax.adam(1e-3)
    step = train.make_train_step(lenet.apply, optimizer)
    state = train.init_state(lenet.init(jax.random.key(0)), optimizer, jax.random.key(1))
    digits = data.load("mnist", source=source).train

    def resident() -> Iterator[train.Report]:
        return train.fit(state, step, *digits, epochs=FOREVER, batch_size=BATCH, pause_every=STEPS)

    def streamed(of: data.Source) -> Iterator[train.Report]:
        return train.fit_stream(state, step, data.Stream(of, BATCH), epochs=FOREVER, pause_every=STEPS)

    reports = {
        "resident": resident(),
        "checkpoints": resident(),
        "streamed from memory": streamed(data.ArraySource(digits)),
        "streamed from the disk": streamed(data.stream("mnist").train),
    }
    last = {way: _hundred_steps(of_way) for way, of_way in reports.items()}
    seconds: dict[str, list[float]] = {way: [] for way in reports}
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints, Progress() as progress:
        for _ in progress.track(range(rounds), description="rounds"):
            for way in draw.sample(list(reports), len(reports)):
                started = time.perf_counter()
                if way == "checkpoints":
                    checkpoints.save(last[way].state, last[way].totals, {})
                last[way] = _hundred_steps(reports[way])
                if way == "checkpoints":
                    checkpoints.wait()
                seconds[way].append(time.perf_counter() - started)
    report.write(
        RESULT,
        seed,
        {
            "net": "lenet",
            "batch": BATCH,
            "steps a round": STEPS,
            "rounds": rounds,
            "ways": {
                way: {
                    "ms a step, min": round(10 * min(of_way), 2),
                    "ms a step, median": round(10 * statistics.median(of_way), 2),
                    "overhead by minima": round(min(of_way) / min(seconds["resident"]) - 1, 4),
                    "overhead, median of the rounds": round(_median_ratio(of_way, seconds["resident"]) - 1, 4),
                }
                for way, of_way in seconds.items()
            },
        },
    )


def _hundred_steps(reports: Iterator[train.Report]) -> train.Report:
    for found in reports:
        if found.step % STEPS == 0:
            return found
    raise AssertionError("the training has an end")


def _median_ratio(of_way: list[float], of_resident: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(of_way, of_resident, strict=True))


if __name__ == "__main__":
    typer.run(overhead)
