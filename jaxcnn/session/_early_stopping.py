"""When training ends before its last epoch: the epochs no longer get better."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxcnn.runs import Metrics
    from jaxcnn.session._settings import Settings


def score_of(line: Metrics) -> float:
    """How good an epoch's network is: by the validation images if there are any."""
    return -float(line["validation_loss"] if "validation_loss" in line else line["loss"])


def stops_early(metrics: list[Metrics], settings: Settings) -> bool:
    """Whether the last `early_stopping` epochs were no better than the best one before them."""
    if not settings.early_stopping or not metrics:
        return False
    best = max(range(len(metrics)), key=lambda number: score_of(metrics[number]))
    return len(metrics) - 1 - best >= settings.early_stopping
