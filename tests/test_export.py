"""An exported network: what is in it, and that it predicts in a process that has no jaxcnn."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxcnn import export, predict, runs
from jaxcnn.nets import gap_cnn

CONFIG = {"data": {"name": "mnist-10k", "classes": list("0123456789")}}
NETWORKS: dict[str, dict[str, Any]] = {
    "lenet": {"filters": (4, 8), "hidden": 16},
    "gap_cnn": {"blocks": (gap_cnn.Block(4, pool=2), gap_cnn.Block(6, stride=2, norm=True))},
    "single_filter": {},
}
WITHOUT_US = """
import sys
sys.modules["jaxcnn"] = None
import jax.export, numpy as np
network = jax.export.deserialize(bytearray(open("network.jax_export", "rb").read()))
with np.load("images.npz") as batches:
    np.savez("found.npz", **{name: network.call(images) for name, images in batches.items()})
"""


def a_run(folder: Path, name: str) -> runs.Run:
    network = runs.network(name, NETWORKS[name])
    config = {"net": {"name": name, "options": network.options}, **CONFIG}
    return runs.Run(folder, config, network, jax.jit(network.init)(jax.random.key(0)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name != "single_filter" else name for name in NETWORKS]
)
def test_it_predicts_without_jaxcnn_as_the_library_does(tmp_path: Path, name: str) -> None:
    run = a_run(tmp_path, name)
    export.write(run, tmp_path / export.NETWORK)
    rng = np.random.default_rng(0)
    batches: dict[str, Any] = {str(size): rng.integers(0, 256, (size, 28, 28, 1), np.uint8) for size in (1, 7, 0)}
    np.savez(tmp_path / "images.npz", **batches)
    done = subprocess.run([sys.executable, "-c", WITHOUT_US], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        for size, images in batches.items():
            assert found[size].shape == (int(size), 10) and found[size].dtype == np.float32
            np.testing.assert_allclose(found[size], predict.probabilities(run, images), atol=1e-6)
    about = json.loads((tmp_path / "network.json").read_text())
    assert about["classes"] == list("0123456789") and about["images"] == ["N", 28, 28, 1]


def test_each_platforms_own_algorithms_are_in_it(tmp_path: Path) -> None:
    """single_filter's convolution is a product with a banded matrix on a CPU, and the compilers' own elsewhere.

    There the compiler's own is in a loop of no turns, or of one where something is not finite.
    """
    network = export.exported(a_run(tmp_path, "single_filter"))
    assert network.platforms == ("cpu", "cuda", "tpu")
    module = network.mlir_module()
    assert "_platform_index" in module and "stablehlo.case" in module
    for platform, has_loop in (("cpu", True), ("cuda", False), ("tpu", False)):
        alone = jax.export.export(
            jax.jit(lambda images: predict.probabilities(a_run(tmp_path, "single_filter"), images)),
            platforms=(platform,),
        )(jax.ShapeDtypeStruct((2, 28, 28, 1), "uint8"))
        assert ("stablehlo.while" in alone.mlir_module()) is has_loop
    assert "convolution" in module


def test_the_parameters_are_in_it(tmp_path: Path) -> None:
    network = export.exported(a_run(tmp_path, "lenet"))
    (images,) = network.in_avals
    assert images.dtype == np.uint8 and images.shape[1:] == (28, 28, 1)
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(a_run(tmp_path, "lenet").params))
    assert len(network.serialize()) > parameters


def test_images_of_another_shape_are_those_of_the_network(tmp_path: Path) -> None:
    network = runs.network("lenet", {"image_shape": (32, 32, 3), "filters": (2, 2), "hidden": 4})
    run = runs.Run(tmp_path, {}, network, jax.jit(network.init)(jax.random.key(0)))
    assert network.image_shape == (32, 32, 3)
    assert export.exported(run).call(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 10)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run = a_run(tmp_path, "single_filter")
    (tmp_path / "network.json").write_text("mine")
    with pytest.raises(runs.RunError, match=r"network\.json exists, and nothing is overwritten"):
        export.write(run, tmp_path / export.NETWORK)
    with pytest.raises(runs.RunError, match=r"net\.json ends in \.json"):
        export.write(run, tmp_path / "net.json")
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]
    assert (tmp_path / "network.json").read_text() == "mine"
