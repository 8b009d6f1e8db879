"""Per-example gradients, `jax.vmap(jax.grad(...))`, hand-derived and autodiff's: see the README beside this file.

run         verifies, then times both ways in turns on fresh numbers
report      writes the table of the README
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.progress import track

from experiments.report import MADE_BY, insert, table, write
from jaxcnn import nets, ops, reference

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "per_example.json"
SEED = 0
WAYS = {"hand-derived": ops, "autodiff": reference}
Loss = Callable[..., jax.Array]  # of a module, parameters and one image without its batch axis

app = typer.Typer(help=__doc__, no_args_is_help=True)


def _conv(module: ModuleType, kernel: jax.Array, x: jax.Array) -> jax.Array:
    y = module.conv(x[None], kernel, padding="SAME")
    return jnp.vdot(y, jnp.cos(y))


def _depthwise(module: ModuleType, kernel: jax.Array, x: jax.Array) -> jax.Array:
    y = module.conv(x[None], kernel, padding="SAME", groups=kernel.shape[-1])
    return jnp.vdot(y, jnp.cos(y))


def _dense(module: ModuleType, kernel: jax.Array, x: jax.Array) -> jax.Array:
    y = module.dense(x[None], kernel)
    return jnp.vdot(y, jnp.cos(y))


def _net(net: ModuleType, module: ModuleType, params: Any, x: jax.Array) -> jax.Array:
    return module.softmax_cross_entropy(net.apply(params, x[None], ops=module)[0], jnp.array([3]))[0]


def _normal(*shape: int) -> Callable[[np.random.Generator], jax.Array]:
    return lambda random: jnp.asarray(random.normal(size=shape), jnp.float32)


def _params(net: ModuleType) -> Callable[[np.random.Generator], Any]:
    return lambda random: net.init(jax.random.key(int(random.integers(2**31))))


CASES: dict[str, tuple[Loss, Callable[..., Any], tuple[int, ...]]] = {
    "conv 3x3, 1 to 32 channels, 28x28": (_conv, _normal(3, 3, 1, 32), (28, 28, 1)),
    "conv 3x3, 32 to 64 channels, 14x14": (_conv, _normal(3, 3, 32, 64), (14, 14, 32)),
    "conv 5x5, 16 to 16 channels, 28x28": (_conv, _normal(5, 5, 16, 16), (28, 28, 16)),
    "conv 3x3, depthwise, 64 channels, 14x14": (_depthwise, _normal(3, 3, 1, 64), (14, 14, 64)),
    "dense, 3136 to 256": (_dense, _normal(3136, 256), (3136,)),
    "single_filter": (partial(_net, nets.single_filter), _params(nets.single_filter), (28, 28, 1)),
    "lenet": (partial(_net, nets.lenet), _params(nets.lenet), (28, 28, 1)),
    "gap_cnn": (partial(_net, nets.gap_cnn), _params(nets.gap_cnn), (28, 28, 1)),
}


@app.command()
def run(examples: int = 64, rounds: int = 15) -> None:
    """Time each case, ways in turns; every call has numbers of its own."""
    rows = {}
    for name, (loss, draw, shape) in track(CASES.items(), description="per-example gradients"):
        compiled = {
            way: jax.jit(jax.vmap(jax.grad(partial(loss, module)), in_axes=(None, 0))) for way, module in WAYS.items()
        }
        random = np.random.default_rng(SEED)
        milliseconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds + 1):
            point = jax.block_until_ready((draw(random), _normal(examples, *shape)(random)))
            results = {}
            for way, gradient in compiled.items():
                started = time.perf_counter()
                results[way] = jax.block_until_ready(gradient(*point))
                if number:  # the first call compiles
                    milliseconds[way].append(1000 * (time.perf_counter() - started))
            _verify(name, *results.values())
        rows[name] = {
            way: {"min_ms": round(min(taken), 3), "median_ms": round(float(np.median(taken)), 3)}
            for way, taken in milliseconds.items()
        }
        write(RESULTS, SEED, {"examples": examples, "rounds": rounds, "rows": rows})


@app.command()
def report() -> None:
    """Write the table into this folder's README."""
    result = json.loads(RESULTS.read_text())
    lines = [
        (
            name,
            *(f"{row[way]['min_ms']:.2f} / {row[way]['median_ms']:.2f}" for way in WAYS),
            f"{row['autodiff']['min_ms'] / row['hand-derived']['min_ms']:.2f}",
        )
        for name, row in result["rows"].items()
    ]
    head = ("gradients in the parameters", "hand-derived, ms: min / median", "autodiff", "ratio of minima")
    machine = "{examples} examples, {rounds} rounds; ".format(**result)
    machine += MADE_BY.format(**result["made_by"]) + "."
    insert(HERE / "README.md", "per-example", f"{table(head, lines)}\n\n{machine}")


def _verify(name: str, ours: Any, theirs: Any) -> None:
    for a, b in zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in (ours, theirs)), strict=True):
        if not np.all(np.abs(a - b) <= 1e-4 * np.max(np.abs(b))):
            raise SystemExit(f"{name}: the two ways differ; nothing was timed")


if __name__ == "__main__":
    app()
