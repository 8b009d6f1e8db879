"""What a training shows on a terminal: a bar of use at any width, and one rate in the bar, the lines and the table."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from jaxcnn import runs
from jaxcnn._progress import LEAST_BAR
from jaxcnn.session._display import Display
from jaxcnn.train import Report, Totals, TrainState


def report(step: int, speed: float) -> Report:
    state = TrainState({"w": jnp.zeros(1)}, (), jnp.asarray(step), jax.random.key(0))
    epoch = (step - 1) // 100 + 1
    return Report(state, Totals.zero(), epoch, step, 100, 0.81234, 0.98765, speed)


def last_line(width: int, epochs: int) -> str:
    """The bar's line as it was last drawn on a terminal of this width, without colours."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, highlight=False, soft_wrap=True)
    with Display(console, epochs) as display:
        display.show(report(100 * (epochs // 2), 5.0), 12345.0)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue())
    return [line for line in re.split(r"[\r\n]+", plain) if "epoch" in line][-1].rstrip()


@pytest.mark.parametrize(
    ("width", "shown", "given_up"),
    [
        (60, ["accuracy 98.77%", "-:--:--"], ["loss", "images/s"]),
        (80, ["loss 0.8123", "accuracy 98.77%", "12,345 images/s"], []),
        (120, ["loss 0.8123", "accuracy 98.77%", "12,345 images/s"], []),
        (40, ["epoch 6/12"], ["loss", "images/s"]),
    ],
)
def test_the_bar_is_of_use_at_any_width(width: int, shown: list[str], given_up: list[str]) -> None:
    line = last_line(width, epochs=12)
    assert line.startswith("epoch 6/12 ") and len(line) <= width
    assert sum(letter in "━╸╺" for letter in line) >= LEAST_BAR - (10 if width == 40 else 0)
    assert all(text in line for text in shown) and not any(text in line for text in given_up), line


def test_long_numbers_take_columns_not_the_bar() -> None:
    line = last_line(60, epochs=10_000_000)
    assert sum(letter in "━╸╺" for letter in line) >= LEAST_BAR and len(line) <= 60, line


def test_one_rate_everywhere(tmp_path: Path) -> None:
    """Images per second of the epoch's segments, without the first of this process, which compiled."""
    config: dict[str, Any] = {"batch_size": 32, "data": {"name": "mnist-10k"}}
    recorder = runs.Recorder(runs.claim(tmp_path / "run"), config)
    rates = []
    for step, speed in ((10, 1.0), (50, 1000.0), (100, 500.0), (150, 200.0), (200, 800.0)):
        recorder.add(report(step, speed))
        rates.append(recorder.images_per_second)
    # 40 batches of 32 at 1000 per second and 50 at 500: 90 * 32 / (1.28 + 3.2)
    assert rates == pytest.approx([1.0, 1000.0, 2880 / 4.48, 200.0, 3200 / (8.0 + 2.0)])
    lines = runs.read_metrics(tmp_path / "run")
    assert [line["images_per_second"] for line in lines] == [rates[2], rates[4]]


def test_a_run_that_goes_on_does_not_count_its_compiling(tmp_path: Path) -> None:
    line = {"epoch": 1, "step": 100, "loss": 1.0, "accuracy": 0.5, "images_per_second": 900.0, "seconds": 1.0}
    config: dict[str, Any] = {"batch_size": 32, "data": {"name": "mnist-10k"}}
    recorder = runs.Recorder(runs.claim(tmp_path / "run"), config, metrics=[line], step=100)
    for step, speed in ((101, 1.0), (200, 1000.0)):
        recorder.add(report(step, speed))
    assert recorder.metrics[-1]["images_per_second"] == pytest.approx(1000.0)
