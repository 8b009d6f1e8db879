"""Can a wrong rule hide from `jaxcnn.check.check_vjp`? See the README beside this file.

run         tries every checker on every mutant, then on the right rules; what an earlier run has done is kept
report      writes the tables of the README, and the picture
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from jax.test_util import check_grads
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.gradients.mutants import MUTANTS, OPS, Op
from experiments.report import MADE_BY, insert, table, write
from jaxcnn.check import check_vjp

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "mutants.json"
PICTURE = RESULTS.with_suffix(".png")
SEED = 0
RIGHT_ORDER = 2

CHECKERS = {
    "reference": "`check_vjp` with a reference",
    "differences": "`check_vjp` without one",
    "exact": "`check_vjp` with a reference, exact",
    "check_grads": "`jax.test_util.check_grads`",
}

jax.config.update("jax_enable_x64", True)
app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def run(
    trials: Annotated[int, typer.Option(help="Points that each mutant is tried at.", min=1)] = 40,
    right: Annotated[int, typer.Option(help="Points that the right rules are tried at, in all.", min=0)] = 1_000,
    only: Annotated[str, typer.Option(help="Part of the names of the mutants to try again, and no other.")] = "",
) -> None:
    """Try every checker on every mutant, and on the right rules."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    mutants, rights = results.get("mutants", {}), results.get("right", {})
    points = {op: right // len(OPS) + (number < right % len(OPS)) for number, op in enumerate(OPS)}
    tries: list[tuple[dict[str, Any], str, Callable[[], dict[str, Any]]]] = [
        (mutants, mutant.name, partial(tried, mutant.name, mutant.wrong, mutant.op, mutant.order, trials))
        for mutant in MUTANTS
        if (only in mutant.name if only else mutants.get(mutant.name, {}).get("points") != trials)
    ]
    tries += [
        (rights, op.name, partial(tried, op.name, op.ours, op, RIGHT_ORDER, points[op]))
        for op in OPS
        if not only and rights.get(op.name, {}).get("points") != points[op]
    ]
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(tries))
        for group, name, outcome in tries:
            progress.update(task, description=name)
            group[name] = outcome()
            write(RESULTS, SEED, {"mutants": mutants, "right": rights})
            progress.advance(task)


@app.command()
def report() -> None:
    """Write the tables into this folder's README, and the picture."""
    results = json.loads(RESULTS.read_text())
    mutants = {mutant.name: results["mutants"][mutant.name] for mutant in MUTANTS}
    insert(HERE / "README.md", "mutants", summary(mutants, results["right"], results["made_by"]))
    draw(mutants)


def tried(name: str, f: Callable[..., jax.Array], op: Op, order: int, points: int) -> dict[str, Any]:
    """How often each checker rejects f in place of op; None where it cannot be asked, at a tie or without integers."""
    started = time.process_time()
    rejected: dict[str, int | None] = dict.fromkeys(CHECKERS)
    base = jax.random.fold_in(jax.random.key(SEED), zlib.crc32(name.encode()))
    for number in range(points):
        for checker, check in checks(f, op, order, jax.random.fold_in(base, number)).items():
            rejected[checker] = (rejected[checker] or 0) + rejects(check)
    seconds = round(time.process_time() - started, 2)
    return {"op": op.function, "order": order, "points": points, "rejected": rejected, "seconds": seconds}


def checks(f: Callable[..., jax.Array], op: Op, order: int, key: jax.Array) -> dict[str, Callable[[], None]]:
    """Every checker that can be asked about f, at the point for a key."""
    args = op.draw(key)
    check = partial(check_vjp, f, order=order, key=key)
    found: dict[str, Callable[[], None]] = {
        "reference": partial(check, args, reference=op.plain, directions=0 if op.at_ties else None)
    }
    if op.is_exact:
        found["exact"] = partial(check, op.whole(key), reference=op.plain, exact=True)
    if not op.at_ties:
        found["differences"] = partial(check, args)
        found["check_grads"] = partial(check_grads, f, args, order=order, modes=("rev",))
    return found


def rejects(check: Callable[[], None]) -> bool:
    """Whether a check finds something off."""
    try:
        check()
    except AssertionError:
        return True
    return False


def summary(mutants: dict[str, Any], rights: dict[str, Any], made_by: dict[str, Any]) -> str:
    """What was caught, in Markdown: by op, then each mutant that some checker missed, then the right rules."""
    by_op: dict[str, list[dict[str, Any]]] = {}
    for outcome in mutants.values():
        by_op.setdefault(outcome["op"], []).append(outcome)
    rows = [(f"`{op}`", str(len(outcomes)), *shares(outcomes)) for op, outcomes in by_op.items()]
    rows.append(("all", str(len(mutants)), *shares(list(mutants.values()))))
    missed = [
        (name, *(share([outcome], checker) for checker in CHECKERS))
        for name, outcome in mutants.items()
        if any(n is not None and n < outcome["points"] for n in outcome["rejected"].values())
    ]
    rejected = ("rejected", *("{} of {:,}".format(*tally(list(rights.values()), checker)) for checker in CHECKERS))
    minutes = sum(outcome["seconds"] for outcome in [*mutants.values(), *rights.values()]) / 60
    machine = MADE_BY.format(**made_by)
    points = " or ".join(str(n) for n in sorted({outcome["points"] for outcome in mutants.values()}))
    return "\n\n".join(
        [
            f"The share of tries that caught the mutant, at {points} points each:",
            table(("op", "mutants", *CHECKERS.values()), rows),
            "The mutants that a checker missed, and how often it caught them:",
            table(("mutant", *CHECKERS.values()), missed),
            f"The right rules, to order {RIGHT_ORDER}:",
            table(("", *CHECKERS.values()), [rejected]),
            f"{machine}; {minutes:.0f} minutes of processor time in all.",
        ]
    )


def shares(outcomes: list[dict[str, Any]]) -> list[str]:
    """Each checker's share over some mutants."""
    return [share(outcomes, checker) for checker in CHECKERS]


def share(outcomes: list[dict[str, Any]], checker: str) -> str:
    """How much of what it was asked about a checker rejected, never rounded up to all of it."""
    rejected, asked = tally(outcomes, checker)
    if not asked:
        return ""
    return "100%" if rejected == asked else f"{1000 * rejected // asked / 10}%"


def tally(outcomes: list[dict[str, Any]], checker: str) -> tuple[int, int]:
    """How often a checker rejected, and how often it was asked."""
    asked = [outcome for outcome in outcomes if outcome["rejected"][checker] is not None]
    return sum(outcome["rejected"][checker] for outcome in asked), sum(outcome["points"] for outcome in asked)


def draw(mutants: dict[str, Any]) -> None:
    """How often each checker caught the mutants that one of these missed, and the others together."""
    import matplotlib.pyplot as plt

    bars = {
        "reference": ("check_vjp with a reference", "#1b6ca8"),
        "differences": ("check_vjp without one", "#8fb8d8"),
        "check_grads": ("jax.test_util.check_grads", "#d1495b"),
    }
    asked = {name: outcome for name, outcome in mutants.items() if outcome["rejected"]["check_grads"] is not None}
    missed = {
        name: [outcome]
        for name, outcome in asked.items()
        if any(outcome["rejected"][checker] < outcome["points"] for checker in bars)
    }
    others = [outcome for name, outcome in asked.items() if name not in missed]
    at_ties = [outcome for name, outcome in mutants.items() if name not in asked]
    rows = {f"the {len(others)} others": others, f"the {len(at_ties)} at ties and kinks": at_ties} | missed
    figure, axes = plt.subplots(figsize=(10, 0.52 * len(rows) + 1), layout="constrained")
    for place, (checker, (label, color)) in enumerate(bars.items()):
        tallies = [tally(outcomes, checker) for outcomes in rows.values()]
        heights = [row + 0.26 * (place - 1) for row in range(len(rows))]
        found = axes.barh(heights, [100 * n / (of or 1) for n, of in tallies], 0.23, color=color, label=label)
        texts = [share(outcomes, checker) or "not applicable" for outcomes in rows.values()]
        axes.bar_label(found, texts, padding=3, fontsize=8, color="#444444")
    axes.set_yticks(range(len(rows)), rows, fontsize=10)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 110)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(f"How often {len(mutants)} planted wrong rules were caught", loc="left", fontsize=12)
    figure.legend(loc="outside lower center", ncols=len(bars), frameon=False)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    app()
