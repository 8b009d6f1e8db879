"""What a run's parameters say to its held-out images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import jaxcnn.ops
from jaxcnn import runs
from jaxcnn.data import Dataset
from jaxcnn.train import evaluate


class HeldOut(NamedTuple):
    """Predictions on the held-out part.

    `images` (N, H, W, C) uint8, `labels` and `predictions` (N,) indices of `classes`, `probabilities` (N,) of what was
    predicted.
    """

    images: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    accuracy: float
    loss: float


def predict(run: runs.Run, dataset: Dataset) -> HeldOut:
    """Predict the whole held-out part, in float32."""
    images, labels = dataset.test
    measured, logits = evaluate(run.network.apply, run.params, images, labels, net_state=run.net_state)
    probabilities = np.asarray(jaxcnn.ops.softmax(logits))
    predictions = logits.argmax(axis=-1)
    return HeldOut(
        images,
        labels,
        predictions,
        np.take_along_axis(probabilities, predictions[:, None], axis=-1)[:, 0],
        dataset.classes,
        measured["accuracy"],
        measured["loss"],
    )
