"""On how many cores XLA:CPU computes a convolution as it is, and made a row longer: see the README beside this file.

run         measures the installed jax
report      writes the table of the README from what every jax gave
"""

from __future__ import annotations

import json
import time
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jax import lax

from experiments.report import insert, table, write
from jaxcnn.bench import product_rate

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SEED = 0
WAYS = ("as it is", "a row longer")
KEYS = {"as it is": "direct", "a row longer": "overhang"}  # in results
# images, size, channels in and out, padding; kernels are 3x3
CONVOLUTIONS = (
    (128, 14, 32, 64, "SAME"),
    (128, 14, 64, 32, "SAME"),
    (64, 32, 64, 64, "SAME"),
    (32, 28, 256, 64, "SAME"),
    (32, 28, 64, 256, "SAME"),
    (64, 16, 128, 128, "SAME"),
    (64, 28, 64, 64, "VALID"),
    (32, 28, 128, 128, "VALID"),
)

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(rounds: int = 30) -> None:
    """Time each convolution, and see what of the cores it keeps busy."""
    rows = [_measured(rounds, *convolution) for convolution in CONVOLUTIONS]
    path = RESULTS / f"cores_jax_{jax.__version__}.json"
    write(path, SEED, {"rounds": rounds, "product_gflops": product_rate(), "rows": rows})


@app.command()
def report() -> None:
    """Write the table, a pair of columns per jax."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("cores_jax_*.json"))]
    rows = [
        (
            row["name"],
            *(
                f"{way['gflops']:.0f}, {way['cores']:.1f}"
                for result in found
                for name in WAYS
                for way in [next(each for each in result["rows"] if each["name"] == row["name"])[KEYS[name]]]
            ),
        )
        for row in found[0]["rows"]
    ]
    head = tuple(f"jax {result['made_by']['jax']}, {way}" for result in found for way in WAYS)
    products = " and ".join(f"{result['product_gflops']:.0f}" for result in found)
    made_by = found[0]["made_by"]
    line = (
        f"The best of {found[0]['rounds']} rounds each, two cores; matrix products at {products} GF/s; "
        f"{made_by['device']}; commit {made_by['commit']}, {made_by['date']}."
    )
    insert(HERE / "README.md", "cores", f"{table(('GF/s, cores busy', *head), rows)}\n\n{line}")


def convolved(x: jax.Array, kernel: jax.Array, padding: str, more: int) -> jax.Array:
    """lax's convolution; with more rows at the end, cut off again, as `direct` does on a CPU where that helps."""
    (lo, hi), across = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (1, 1), padding)
    missing = more * max(0, kernel.shape[0] - lo - hi)  # rows until the result is longer than x
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), ((lo, hi + missing), across), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return lax.slice_in_dim(y, 0, y.shape[1] - missing, axis=1)


def _measured(rounds: int, images: int, size: int, c_in: int, c_out: int, padding: str) -> dict[str, Any]:
    random = np.random.default_rng(SEED)
    x = jnp.asarray(random.standard_normal((images, size, size, c_in), np.float32))
    kernel = jnp.asarray(random.standard_normal((3, 3, c_in, c_out), np.float32))
    programs = {
        way: jax.jit(partial(convolved, padding=padding, more=int(way != WAYS[0]))).lower(x, kernel).compile()
        for way in WAYS
    }
    y, same = (np.asarray(program(x, kernel)) for program in programs.values())
    np.testing.assert_allclose(y, same, rtol=1e-4, atol=1e-4 * float(np.max(np.abs(y))))
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    busy = dict.fromkeys(WAYS, 0.0)
    for _ in range(rounds):
        for name in random.permutation(WAYS):
            cpu, began = time.process_time(), time.perf_counter()
            jax.block_until_ready(programs[name](x, kernel))
            taken[name].append(time.perf_counter() - began)
            busy[name] += time.process_time() - cpu
    flops = 2 * prod(y.shape) * 9 * c_in
    rates = {
        KEYS[name]: {"gflops": flops / min(times) / 1e9, "cores": busy[name] / sum(times)}
        for name, times in taken.items()
    }
    return {"name": f"3x3, {c_in} to {c_out}, {size}x{size}, {padding}, images {images}", **rates}


if __name__ == "__main__":
    app()
