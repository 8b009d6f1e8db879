"""Names that there are not: every place that refuses one offers the nearest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

import jaxcnn
from jaxcnn import check, cost, data, ops, runs, train
from jaxcnn._names import did_you_mean, nearest, unknown

X, KERNEL = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "net": (lambda: runs.network("Lenet5"), "unknown net 'Lenet5', expected one of .*: did you mean 'lenet'?"),
    "net's option": (lambda: runs.network("lenet", {"filter": 1}), "unknown option of lenet 'filter', .* 'filters'?"),
    "data set": (
        lambda: data.load("FashionMNIST"),
        "unknown data set 'FashionMNIST', .*: did you mean 'fashion_mnist'?",
    ),
    "optimizer": (lambda: train.make_optimizer("adamW", 1.0), "unknown optimizer 'adamW', .*: did you mean 'adamw'?"),
    "clip": (
        lambda: train.make_optimizer("sgd", 1.0, clip=("clip-by-global-norm", 1.0)),
        "unknown clip .*: did you mean 'clip_by_global_norm'?",
    ),
    "schedule": (
        lambda: train.learning_rates("cosine_decay", 1.0, steps=3),
        "unknown schedule 'cosine_decay', .*: did you mean 'cosine_decay_schedule'?",
    ),
    "op": (lambda: cost.of_op("maxpool", X), "unknown op 'maxpool', .*: did you mean 'max_pool'?"),
    "algorithm": (lambda: ops.conv(X, KERNEL, algorithm="tap"), "got 'tap': did you mean 'taps'?"),
    "padding mode": (
        lambda: ops.conv(X, KERNEL, padding=1, padding_mode="reflected"),
        "got 'reflected': did you mean 'reflect'?",
    ),
    "ties": (lambda: ops.max_pool(X, 2, ties="fist"), "got 'fist': did you mean 'first'?"),
    "keyword of a check": (
        lambda: check.comparisons(jnp.sin, (X,), tolerence=2),
        "unknown keyword 'tolerence', .*: did you mean 'tolerance'?",
    ),
    "key of config.json": (
        lambda: runs.require(Path("config.json"), {"net": {"nam": "lenet"}}, {"net.name": (str,)}),
        "net.name is None, not of type str: is 'nam' meant?",
    ),
    "outer key of config.json": (
        lambda: runs.require(Path("config.json"), {"ned": {"name": "lenet"}}, {"net.name": (str,)}),
        "net.name is None, not of type str: is 'ned' meant?",
    ),
}


@pytest.mark.parametrize(("refused", "says"), REFUSED.values(), ids=REFUSED)
def test_the_nearest_name_is_offered(refused: Callable[[], Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError, jaxcnn.JaxcnnError), match=f"{says.replace('?', '[?]')}$") as error:
        refused()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["LeNet", "le-net", "lenett", "LENET5"])
def test_capitals_dashes_and_slips_are_seen_through(name: str) -> None:
    assert nearest(name, ("single_filter", "lenet")) == "lenet"


def test_known_names_may_have_dashes_and_capitals_too() -> None:
    assert nearest("tpu_v5e", ("h100", "tpu-v5e")) == "tpu-v5e"
    assert nearest("same", ("VALID", "SAME")) == "SAME"


def test_nothing_is_offered_where_nothing_is_near() -> None:
    assert unknown("net", "zebra", ["lenet"]) == "unknown net 'zebra', expected one of lenet"
    assert did_you_mean(3, ["lenet"]) == did_you_mean("", ["lenet"]) == did_you_mean("lenet", []) == ""


def test_there_is_one_helper() -> None:
    """Whatever suggests a name does it by `_names`."""
    package = Path(jaxcnn.__file__).parent
    by_themselves = [path for path in package.rglob("*.py") if re.search("difflib|did you mean", path.read_text())]
    assert by_themselves == [package / "_names.py"]
