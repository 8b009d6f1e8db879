"""How far are hand-derived gradients, autodiff's and differences from the truth? See the README beside this file.

steps       differences against the hand-derived gradient, over their step, in three dtypes
sums        a dense layer's gradient, hand-derived and autodiff's, against float64, over dtype and length of the sum
depths      the same for a stack of convolutions, over its depth
drift       a training run by hand-derived gradients and one by autodiff: how far their parameters part
kept        what each network keeps for its backward pass
report      writes the tables of the README, and the pictures
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
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
from jaxcnn import data, examples, nets, ops, reference, train
from jaxcnn.check import residuals

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SEED = 0
WAYS = {"hand-derived": ops, "autodiff": reference}
DTYPES = ("float32", "bfloat16", "float16")
COLORS = {"float32": "#1b6ca8", "bfloat16": "#d1495b", "float16": "#e0a030"}

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")
app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def steps(directions: int = 20) -> None:
    """The error of central differences, plain and extrapolated, of lenet's loss over their step."""
    example = examples.NETS["lenet"]
    rows = []
    for dtype in ("float64", "float32"):
        point = example.distinct(jax.random.key(SEED), dtype)
        loss = jax.jit(lambda args: example.by_hand(*args).sum())
        gradient = jax.jit(jax.grad(loss))(point)
        lines = [_normal_like(number, point) for number in range(directions)]
        slopes = [_inner(gradient, line) for line in lines]
        for exponent in track(np.arange(-10, 0.25, 0.5), description=f"steps in {dtype}"):
            step = float(10.0**exponent)
            errors: dict[str, list[float]] = {"plain": [], "extrapolated": []}
            for line, slope in zip(lines, slopes, strict=True):
                whole, half = (_difference(loss, point, line, h) for h in (step, step / 2))
                size = float(np.sqrt(_inner(gradient, gradient)))
                errors["plain"].append(abs(whole - slope) / size)
                errors["extrapolated"].append(abs((4 * half - whole) / 3 - slope) / size)
            rows.append({"dtype": dtype, "step": step, **{k: float(np.median(v)) for k, v in errors.items()}})
    write(RESULTS / "steps.json", SEED, {"directions": directions, "rows": rows})


@app.command()
def sums(points: int = 5) -> None:
    """The kernel's gradient of a dense layer in a batch of N examples: sums of N products."""
    rows = []
    for exponent in track(range(2, 17, 2), description="sums"):
        shapes = {"x": (2**exponent, 8), "kernel": (8, 8), "dy": (2**exponent, 8)}
        for dtype in DTYPES:
            for way, module in WAYS.items():
                errors = []
                for point in range(points):
                    random = np.random.default_rng([SEED, exponent, point])
                    x, kernel, dy = (jnp.asarray(random.normal(size=shape), dtype) for shape in shapes.values())
                    errors.append(_error(module.dense, (x, kernel), dy, argument=1))
                rows.append({"length": 2**exponent, "dtype": dtype, "way": way, "ulps": float(np.median(errors))})
    write(RESULTS / "sums.json", SEED, {"points": points, "rows": rows})


@app.command()
def depths(points: int = 3) -> None:
    """The images' gradient through a stack of convolutions, each with ReLU, of 8 channels on 16 x 16 places."""
    rows = []
    for depth in track((1, 2, 4, 8, 16), description="depths"):
        for dtype in DTYPES:
            for way, module in WAYS.items():
                errors = []
                for point in range(points):
                    random = np.random.default_rng([SEED, depth, point])
                    kernels = jnp.asarray(random.normal(size=(depth, 3, 3, 8, 8)) * np.sqrt(2 / 72), dtype)
                    x, dy = (jnp.asarray(random.normal(size=(2, 16, 16, 8)), dtype) for _ in range(2))
                    errors.append(_error(partial(_stack, module, depth), (x, kernels), dy, argument=0))
                rows.append({"depth": depth, "dtype": dtype, "way": way, "ulps": float(np.median(errors))})
    write(RESULTS / "depths.json", SEED, {"points": points, "rows": rows})


@app.command()
def drift(epochs: int = 5, batch_size: int = 64) -> None:
    """single_filter on mnist-10k in float32 and float64, by hand-derived gradients and by autodiff, from one start."""
    digits = data.load("mnist-10k")
    batches = len(digits.train.labels) // batch_size
    rows = []
    for dtype in ("float32", "float64"):
        optimizer = train.OPTIMIZERS["adam"](1e-3)
        apply = partial(_apply_in, dtype)
        params = jax.tree.map(lambda leaf, d=dtype: leaf.astype(d), nets.single_filter.init(jax.random.key(SEED)))
        taken = {
            way: (
                train.make_train_step(apply, optimizer, ops=module),
                train.init_state(jax.tree.map(jnp.copy, params), optimizer, jax.random.key(SEED)),
            )
            for way, module in WAYS.items()
        }
        for number in track(range(epochs * batches), description=f"drift in {dtype}"):
            order = np.random.default_rng([SEED, number // batches]).permutation(len(digits.train.labels))
            chosen = order[(number % batches) * batch_size :][:batch_size]
            batch = {
                "image": jnp.asarray(digits.train.images[chosen]),
                "label": jnp.asarray(digits.train.labels[chosen]),
            }
            taken = {way: (step, step(state, batch)[0]) for way, (step, state) in taken.items()}
            if (number + 1) & number == 0 or (number + 1) % 50 == 0 or number + 1 == epochs * batches:
                apart = [np.asarray(x) - np.asarray(y) for x, y in zip(*_parameters(taken), strict=True)]
                size = np.sqrt(sum(np.sum(np.square(np.asarray(x))) for x in next(iter(_parameters(taken)))))
                norm = float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in apart)) / size)
                rows.append({"dtype": dtype, "step": number + 1, "apart": norm})
    write(RESULTS / "drift.json", SEED, {"epochs": epochs, "batch_size": batch_size, "rows": rows})


@app.command()
def kept() -> None:
    """Name, shape and bytes of every residual of each network's loss, for 128 images in float32."""
    found = {}
    for name, example in examples.NETS.items():
        params, x = example.like
        images = jax.ShapeDtypeStruct((128, *x.shape[1:]), jnp.float32)
        labels = jnp.zeros(128, jnp.int32)
        found[name] = {
            way: [
                {"name": kept.name, "shape": kept.shape, "dtype": kept.dtype.name, "bytes": kept.bytes}
                for kept in residuals(_loss(name, module, labels), params, images)
            ]
            for way, module in WAYS.items()
        }
    write(RESULTS / "kept.json", SEED, {"nets": found})


@app.command()
def report() -> None:
    """Write the tables into this folder's README, and the pictures."""
    page = HERE / "README.md"
    read = {
        name: json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("steps", "sums", "depths", "drift", "kept")
    }
    insert(page, "sums", _ulps_table(read["sums"]["rows"], "length", "terms"))
    insert(page, "depths", _ulps_table(read["depths"]["rows"], "depth", "layers"))
    insert(page, "kept", _kept_table(read["kept"]["nets"]))
    ends = {row["dtype"]: row for row in read["drift"]["rows"]}
    insert(
        page,
        "drift",
        table(
            ("dtype", "steps", "parameters apart, of their norm"),
            [(dtype, f"{row['step']:,}", f"{row['apart']:.2g}") for dtype, row in ends.items()],
        ),
    )
    stamps = [f"- {name}: {MADE_BY.format(**result['made_by'])}." for name, result in read.items()]
    insert(page, "made-by", "\n".join(stamps))
    _draw(read)


def _draw(read: dict[str, Any]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    (of_steps, of_sums), (of_depths, of_drift) = axes
    for dtype, style in (("float64", "-"), ("float32", "--")):
        rows = [row for row in read["steps"]["rows"] if row["dtype"] == dtype]
        for kind, color in (("plain", "#888888"), ("extrapolated", "#1b6ca8")):
            of_steps.plot(_of(rows, "step"), _of(rows, kind), style, color=color, label=f"{dtype}, {kind}")
    step = (2.0**-52) ** 0.375
    of_steps.axvline(step, color="#bbbbbb", linewidth=1)
    of_steps.annotate("the checker's step", (step, of_steps.get_ylim()[1]), ha="center", va="bottom", fontsize=8)
    of_steps.set(
        xscale="log", yscale="log", xlabel="step", ylabel="error / |gradient|", title="Differences of lenet's loss"
    )
    of_steps.legend(fontsize=8, frameon=False)
    for panel, name, key, label in (
        (of_sums, "sums", "length", "terms in the sum"),
        (of_depths, "depths", "depth", "convolutions in the stack"),
    ):
        for dtype, color in COLORS.items():
            rows = [row for row in read[name]["rows"] if row["dtype"] == dtype]
            ours, theirs = ([row for row in rows if row["way"] == way] for way in WAYS)
            panel.plot(_of(ours, key), _of(ours, "ulps"), color=color, label=f"{dtype}, hand-derived")
            panel.plot(
                _of(theirs, key), _of(theirs, "ulps"), "o", color=color, mfc="none", ms=8, label=f"{dtype}, autodiff"
            )
        panel.set(xlabel=label, ylabel="greatest error, ulps")
        panel.set_xscale("log", base=2)
        panel.legend(fontsize=8, frameon=False)
    of_depths.set_yscale("log")
    of_sums.set_title("A dense layer's kernel gradient")
    of_depths.set_title("The images' gradient through a stack")
    for dtype, style in (("float64", "-"), ("float32", "--")):
        rows = [row for row in read["drift"]["rows"] if row["dtype"] == dtype]
        of_drift.plot(_of(rows, "step"), np.maximum(_of(rows, "apart"), 1e-18), style, color="#1b6ca8", label=dtype)
    of_drift.set(
        xscale="log",
        yscale="log",
        xlabel="training step",
        ylabel="parameters apart, of their norm",
        title="single_filter, hand-derived against autodiff",
    )
    of_drift.legend(fontsize=8, frameon=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "study.png", dpi=110)


def _of(rows: Iterable[dict[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows]


def _ulps_table(rows: list[dict[str, Any]], key: str, label: str) -> str:
    cells = {(row[key], row["dtype"], row["way"]): row["ulps"] for row in rows}
    lines = [
        (f"{size:,}", *(f"{cells[size, dtype, way]:.2g}" for dtype in DTYPES for way in WAYS))
        for size in sorted({row[key] for row in rows})
    ]
    return table((label, *(f"{dtype}, {way}" for dtype in DTYPES for way in WAYS)), lines)


def _kept_table(found: dict[str, Any]) -> str:
    lines = []
    for name, ways in found.items():
        for is_argument, what in ((True, "parameters and images"), (False, "made on the way")):
            totals = [
                sum(kept["bytes"] for kept in ways[way] if kept["name"].startswith("args[") == is_argument)
                for way in WAYS
            ]
            ratio = f"{totals[0] / totals[1]:.2f}" if totals[1] else ""
            lines.append((f"`{name}`", what, *(f"{total:,}" for total in totals), ratio))
    return table(("net", "kept", *(f"bytes {way}" for way in WAYS), "ratio"), lines)


def _loss(net: str, module: ModuleType, labels: jax.Array) -> Callable[..., jax.Array]:
    apply = nets.NETS[net].apply
    return jax.jit(lambda params, x: module.softmax_cross_entropy(apply(params, x, ops=module)[0], labels))


def _apply_in(dtype: str, params: Any, x: jax.Array, **options: Any) -> Any:
    """A conv computes in the dtype of its images, which the step makes float32."""
    return nets.single_filter.apply(params, x.astype(dtype), **options)


def _stack(module: ModuleType, depth: int, x: jax.Array, kernels: jax.Array) -> jax.Array:
    for number in range(depth):
        x = module.relu(module.conv(x, kernels[number], padding="SAME"))
    return x


def _error(f: Callable[..., jax.Array], args: tuple[jax.Array, ...], dy: jax.Array, *, argument: int) -> float:
    """The greatest error of one argument's gradient against the same numbers in float64, in ulps of the greatest."""

    @jax.jit
    def gradient(args: tuple[jax.Array, ...], dy: jax.Array) -> jax.Array:
        return jax.vjp(f, *args)[1](dy)[argument]

    found = np.asarray(gradient(args, dy), np.float64)
    truth = np.asarray(gradient(tuple(a.astype("float64") for a in args), dy.astype("float64")))
    return float(np.max(np.abs(found - truth)) / (np.max(np.abs(truth)) * float(jnp.finfo(dy.dtype).eps)))


def _parameters(taken: dict[str, Any]) -> list[list[jax.Array]]:
    return [jax.tree.leaves(state.params) for _, state in taken.values()]


def _difference(loss: Any, point: Any, line: Any, step: float) -> float:
    ends = [loss(jax.tree.map(lambda leaf, v, h=h: leaf + h * v, point, line)) for h in (step, -step)]
    return float((np.float64(ends[0]) - np.float64(ends[1])) / (2 * step))


def _normal_like(seed: int, tree: Any) -> Any:
    random = np.random.default_rng([SEED, seed])
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), tree)


def _inner(left: Any, right: Any) -> float:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return float(sum(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs))


if __name__ == "__main__":
    app()
