"""experiments/models: every model is what its page says, and its twin in PyTorch is the same network."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.models import measure, report
from experiments.models.model import NAMES, Model, first_arguments, make, training_step

ROOT = Path(__file__).parents[1]
HERE = ROOT / "experiments" / "models"
PACKAGES = {name: "haiku" for name in ("efficientnet", "wavenet", "dqn")} | {
    **{name: "equinox" for name in ("convnext", "voxnet")},
    "densenet": "keras",
}
SMALL = ("dqn", "wavenet")


def small(name: str) -> Model:
    """The model with a batch of two, where its framework is installed."""
    pytest.importorskip(PACKAGES.get(name, "flax"))
    return make(name, images=2)


def test_a_file_each() -> None:
    for folder in ("jax_nets", "torch_nets"):
        assert {path.stem for path in (HERE / folder).glob("*.py")} == set(NAMES)
        assert all(len(path.read_text().splitlines()) < 100 for path in (HERE / folder).glob("*.py"))


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_step_gives_a_loss_and_as_many_parameters_as_it_takes(name: str) -> None:
    model = small(name)
    arguments = first_arguments(model, model.draw(jax.random.key(0)))
    params, state, _, loss = jax.eval_shape(training_step(model, model.loss), *arguments)
    assert loss.shape == () and loss.dtype == "float32"
    for found, given in ((params, model.params), (state, model.state)):
        assert str(jax.tree.structure(found)) == str(jax.tree.structure(given))
        shapes, expected = ([(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(of)] for of in (found, given))
        assert shapes == expected


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_falls(name: str) -> None:
    model = small(name)
    arguments = first_arguments(model, model.draw(jax.random.key(0)))
    losses = measure.trained(jax.jit(training_step(model, model.loss)), arguments)
    assert len(losses) == measure.STEPS and np.isfinite(losses).all()
    assert losses[-1] < losses[0]


VERIFY = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
from experiments.models.measure import verify
print(json.dumps(verify(sys.argv[1])))
"""


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_accelerated_and_pytorch_are_equal_to_plain(name: str) -> None:
    package = PACKAGES.get(name, "flax")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    where = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", VERIFY, name], env=os.environ | where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verified = json.loads(done.stdout.splitlines()[-1])
    assert report.is_equal({"verified": verified})
    assert verified.get("pytorch", 0.0) <= 100 * report.rounding(verified)


def test_a_difference_is_a_share_of_each_array() -> None:
    wanted = {"a": np.array([1.0, 100.0]), "b": np.array([1e-3]), "none": np.array([1e-17]), "zero": np.zeros(3)}
    assert measure.difference(wanted, wanted) == 0

    def changed(name: str, by: float) -> float:
        found = copy.deepcopy(wanted)
        found[name][0] += by
        return measure.difference(found, wanted)

    assert changed("a", 0.5) == pytest.approx(0.005)
    assert changed("b", 1e-4) == pytest.approx(0.1)
    assert changed("none", 1e-9) == pytest.approx(1e-11)
    assert changed("zero", 1e-9) == pytest.approx(1e-11)
    assert changed("a", float("nan")) == float("inf")


def row(
    name: str, plain: list[float], accelerated: list[float], seconds: float = 1.0, again: float = 1.0
) -> dict[str, Any]:
    """Of a result."""

    def way(times: list[float], compiling: float) -> dict[str, Any]:
        found = {"min_ms": min(times), "median_ms": sorted(times)[len(times) // 2], "ms": times}
        return found | {"lower_s": 0.5, "compile_s": compiling, "temporary_bytes": 1000}

    errors = {"plain": 1e-6, "accelerated": 2e-6}
    return {
        "name": name,
        "title": f"{name}, 2 of 8x8",
        "framework": "linen",
        "parameters": 1000,
        "verified": {"float64": 1e-15, "float32": errors, "is_double": True, "images": 2, "points": 5},
        "losses": {"plain": [2.0, 1.0], "accelerated": [2.0, 1.0]},
        "ways": {
            "plain": way(plain, 1.0),
            "plain again": way([again * time for time in plain], 1.0),
            "accelerated": way(accelerated, seconds),
        },
    }


def test_a_model_that_loses_is_named() -> None:
    gains, noisy = row("gains", [4.0] * 5, [2.0] * 5), row("noisy", [1.9, 2.2, 2.2, 2.2], [2.0, 2.0, 2.0, 2.0])
    loses = row("loses", [1.0] * 5, [2.0] * 5, seconds=9.0)
    assert [report.loses(one) for one in (gains, noisy, loses)] == [False, False, True]
    near = [row("near", [1.9] * 5, [2.0] * 5, again=again) for again in (1.0, 1.1, 1 / 1.1)]
    assert [report.loses(one) for one in near] == [True, False, False]
    text = report.asked([gains, noisy, loses, {"name": "broken", "fault": "verify: no memory"}])
    assert "| no model below 1.0 of plain beyond noise | **no**: loses | the least 0.50 |" in text
    assert "**no**: broken (verify: no memory) | 3 of 4 |" in text
    assert [report.compiles_long(one) for one in (gains, loses)] == [False, True]
    order = report.times([loses, gains])
    assert order.index("gains, 2") < order.index("loses, 2")


def test_numbers_that_rounding_does_not_explain_are_not_equal() -> None:
    fine = row("fine", [1.0] * 3, [1.0] * 3)
    assert report.is_equal(fine)
    for dtype, error in (("float64", 1e-12), ("float32", {"plain": 1e-6, "accelerated": 5e-6})):
        wrong = copy.deepcopy(fine)
        wrong["verified"][dtype] = error
        assert not report.is_equal(wrong)


def test_the_page_takes_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text((HERE / "README.md").read_text())
    made_by = {"jax": "0", "device": "cpu", "seed": 0, "commit": "none", "date": "today"}
    rows = [row("one", [2.0] * 3, [1.0] * 3), {"name": "two", "fault": "measure: killed"}]
    readme = tmp_path / "short.md"
    readme.write_text("<!-- models -->\n<!-- /models -->\n")
    report.report(page, readme, {"made_by": made_by, "packages": {"flax": "1"}, "rounds": 3, "rows": rows})
    assert (
        "| one, 2 of 8x8 | linen | 0.00 M | 2 / 2 | 1 / 1 | **2.00** | 2.00; 2.00 to 2.00 | 1.00 |  |"
        in page.read_text()
    )
    assert "two (measure: killed)" in page.read_text()
    assert "| one, 2 of 8x8 | linen | 2 | 1 | **2.00** |  |" in readme.read_text()
