"""A trained network as one file that predicts wherever jax is, without jaxcnn.

The file is `jax.export`'s: StableHLO for CPU, CUDA and TPU with the parameters in it, and no Python code. Its function
takes images uint8 (N, H, W, C), N any number, and returns probabilities float32 (N, K).
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
from jax import export as jax_export

from jaxcnn import runs
from jaxcnn._whole import WHOLE
from jaxcnn.predict import probabilities

PLATFORMS = ("cpu", "cuda", "tpu")
NETWORK = "network.jax_export"


def exported(run: runs.Run) -> jax_export.Exported:
    """The network of a run, for every platform of `PLATFORMS` and any number of images, its parameters constants.

    Example:
        >>> import jax, numpy as np
        >>> from pathlib import Path
        >>> from jaxcnn import runs
        >>> net = runs.network("single_filter")
        >>> network = exported(runs.Run(Path("run"), {}, net, net.init(jax.random.key(0))))
        >>> network.platforms
        ('cpu', 'cuda', 'tpu')
        >>> network.call(np.zeros((3, 28, 28, 1), np.uint8)).shape
        (3, 10)
    """
    (batch,) = jax_export.symbolic_shape("above_batch - 1")  # a symbol is at least 1, a batch may be empty
    images = jax.ShapeDtypeStruct((batch, *run.network.image_shape), "uint8")

    @jax.jit
    def predict(images: jax.Array) -> jax.Array:
        return probabilities(run, images)

    return jax_export.export(predict, platforms=PLATFORMS)(images)


def names_file(file: Path) -> Path:
    """The file beside an exported network that has its classes: `network.jax_export` has `network.json`."""
    return file.with_suffix(".json")


def write(run: runs.Run, file: Path) -> None:
    """Write a run's network to `file`, and beside it, as JSON, its classes and what it takes.

    Raises:
        RunError: either file exists, or there is no such folder.
    """
    names = names_file(file)
    if names == file:
        raise runs.RunError(f"{file} ends in .json, the name of the file beside it: give another")
    for path in (file, names):
        if path.exists():
            raise runs.RunError(f"{path} exists, and nothing is overwritten: give another file")
    if not file.parent.is_dir():
        raise runs.RunError(f"there is no folder {file.parent}")
    network = exported(run)
    about = {
        "classes": run.config["data"]["classes"],
        "images": ["N", *run.network.image_shape],
        "platforms": list(network.platforms),
        "net": run.config["net"]["name"],
        "data": run.config["data"]["name"],
    }
    content = bytes(network.serialize())
    with WHOLE:  # neither without the other
        runs.write_whole(file, content)
        runs.write_whole(names, (json.dumps(about, indent=2) + "\n").encode())


def how_to_use(run: runs.Run, file: Path) -> str:
    """Lines of Python that load an exported network and use it."""
    return (
        "import jax.export, json, numpy as np\n"
        f"network = jax.export.deserialize(bytearray(open({str(file)!r}, 'rb').read()))\n"
        f"classes = json.load(open({str(names_file(file))!r}))['classes']\n"
        f"images = np.zeros((1, {', '.join(map(str, run.network.image_shape))}), np.uint8)  # yours\n"
        "print([classes[k] for k in network.call(images).argmax(axis=1)])"
    )
