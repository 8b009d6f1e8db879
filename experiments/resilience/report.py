"""Write the tables of this folder's README from its results."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from experiments.report import MADE_BY, insert, table

HERE = Path(__file__).parent


def report() -> None:
    """All three tables."""
    soak, overhead = (json.loads((HERE / "results" / f"{name}.json").read_text()) for name in ("soak", "overhead"))
    presses = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("presses_*.json"))]
    rows = [(name, str(value)) for name, value in soak.items() if name not in ("made_by", "lives")]
    insert(HERE / "README.md", "soak", f"{table(('what', 'figure'), rows)}\n\n{MADE_BY.format(**soak['made_by'])}.")
    ways = [
        (
            way,
            f"{figures['ms per step, min']:.1f}",
            f"{figures['ms per step, median']:.1f}",
            f"{figures['overhead']['median']:+.1%}",
            f"{figures['overhead']['from']:+.1%} to {figures['overhead']['to']:+.1%}",
        )
        for way, figures in overhead["ways"].items()
    ]
    head = ("way", "ms per step, minimum", "median", "overhead, median of the rounds", "its 95 % interval")
    insert(HERE / "README.md", "overhead", f"{table(head, ways)}\n\n{MADE_BY.format(**overhead['made_by'])}.")
    lives = [life for result in presses for life in result["lives"]]
    seeds = " and ".join(str(result["made_by"]["seed"]) for result in presses)
    made_by = MADE_BY.format(**presses[0]["made_by"] | {"seed": seeds})
    insert(HERE / "README.md", "presses", f"{_pressed(lives)}\n\n{made_by}.")


def _pressed(lives: list[dict[str, Any]]) -> str:
    """A row per phase, and one of all."""
    head = (
        "where",
        "lives",
        "presses",
        "once, twice, ten times",
        "Ctrl-C, SIGTERM, closed terminal",
        "faults",
        "ended by itself",
        "seconds to the answer: median",
        "longest",
        "over 1 s",
        "resumed, to the same bits",
    )
    phases = dict.fromkeys(life["phase"] for life in lives if life["command"] == "train")
    groups = [(phase, [life for life in lives if life["phase"] == phase]) for phase in sorted(phases, key=_order)]
    groups += [("the other commands", [life for life in lives if life["command"] != "train"]), ("all", lives)]
    return table(head, [(name, *_figures(group)) for name, group in groups])


def _order(phase: str) -> int:
    return ("imports", "before the header", "compiling", "training", "checkpoint", "ending").index(phase)


def _figures(lives: list[dict[str, Any]]) -> tuple[str, ...]:
    answers = [life["seconds to the answer"] for life in lives if life["seconds to the answer"] is not None]
    resumed = [life["resumed"] for life in lives if "resumed" in life]
    return (
        str(len(lives)),
        str(sum(life["presses before the end"] for life in lives)),
        ", ".join(str(sum(life["presses"] == times for life in lives)) for times in (1, 2, 10)),
        ", ".join(str(sum(life["signal"] == name for life in lives)) for name in ("SIGINT", "SIGTERM", "SIGHUP")),
        str(sum("wrong" in life for life in lives)),
        str(sum(life["exit code"] == 0 for life in lives)),
        f"{median(answers):.3f}",
        f"{max(answers):.2f}",
        str(sum(answer > 1 for answer in answers)),
        f"{sum(resumed)} of {len(resumed)}" if resumed else "",
    )


if __name__ == "__main__":
    report()
