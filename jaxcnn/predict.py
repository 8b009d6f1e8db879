"""What a trained network makes of pictures, and whether it is sure of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn.ops
from jaxcnn import photos
from jaxcnn._contract import logits_and_state
from jaxcnn.train import as_floats
from jaxcnn.train._inputs import hinted

if TYPE_CHECKING:
    from jaxcnn.runs import Run

# Chosen on mnist-10k's 2,000 held-out digits. Below it lie 4.4 % of a lenet's answers and two thirds of its errors; of
# the others 99.4 % are right. On MNIST's test part it is 4.3 %, 70 % and 99.3 %. Of a gap_cnn's answers 6.6 % lie
# below, of a single_filter's 25 %.
SURE = 0.9


def probabilities(run: Run, images: np.ndarray | jax.Array) -> jax.Array:
    """The probabilities (N, K), float32, of each class on images (N, H, W, C), uint8 or floats in [0, 1].

    Raises:
        ValueError: the network takes other images; says what is the matter where the layout is another's.
    """
    shape = np.shape(images)
    if len(shape) == 3 and shape == run.network.image_shape:
        raise ValueError(f"predict: images must be (N, H, W, C), got one image {shape}: take images[None]")
    with hinted("predict", shape):
        x = as_floats(jnp.asarray(images))
        logits, _ = logits_and_state(run.network.apply, run.params, x, state=run.net_state)
    return jaxcnn.ops.softmax(logits.astype(jnp.float32))


def in_batches(run: Run, images: np.ndarray, *, batch_size: int = 256) -> Iterator[np.ndarray]:
    """`probabilities` of as many images as there are, a batch at a time."""
    for start in range(0, len(images), batch_size):
        yield np.asarray(probabilities(run, images[start : start + batch_size]))


def of_photographs(run: Run, images: np.ndarray) -> np.ndarray:
    """The mean probabilities (N, K) of each digit (N, 28, 28, 1), uint8, cut out of a photograph, varied a little.

    A network is often sure of what no digit of MNIST's looks like. Where turning it by ten degrees changes the answer,
    the mean says so.
    """
    varied = np.concatenate([photos.varied(image) for image in images])
    rows = np.concatenate(list(in_batches(run, varied)))
    return rows.reshape(len(images), -1, rows.shape[-1]).mean(axis=1)


def is_unsure(row: np.ndarray) -> bool:
    """Whether the greatest of some probabilities (K,) is below `SURE`.

    Example:
        >>> import numpy as np
        >>> is_unsure(np.array([0.61, 0.32, 0.07])), is_unsure(np.array([0.98, 0.02, 0]))
        (True, False)
    """
    return bool(np.max(row) < SURE)
