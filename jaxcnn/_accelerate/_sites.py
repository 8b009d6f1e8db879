"""What became of each convolution and pool of a function: a table, printed or as data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Site:
    """One convolution or pool, or a chain that one op computes.

    Attributes:
        what: "convolution", "max pool", "min pool" or "sum pool" (an average pool is one, divided);
            "convolution, bias, ReLU, max pool" or "convolution, ReLU, max pool" of a chain.
        line: the user's line, "file:line (function)".
        scope: its name in profiles, as "CNN/Conv_0"; "" where it has none.
        inside: what it runs inside, outermost first, as ("jit loss", "scan").
        shapes: what goes in, and what comes out last, as ("float32[8,28,28,1]", ..).
        runs: who computes each of its maps, as {"correlate": "taps", ..}; None where it is left to jax.lax.
        left: why it is left to jax.lax; None where it is not.
    """

    what: str
    line: str
    scope: str
    inside: tuple[str, ...]
    shapes: tuple[str, ...]
    runs: dict[str, str] | None
    left: str | None


@dataclass(frozen=True, repr=False)
class Sites:
    """The sites of a function, in the order in which it computes them; printed, they are a table with totals.

    Attributes:
        rows: a `Site` per convolution, pool and chain.
    """

    rows: tuple[Site, ...]

    def __iter__(self) -> Iterator[Site]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Site:
        return self.rows[index]

    @property
    def replaced(self) -> tuple[Site, ...]:
        """Those that hand-derived rules compute."""
        return tuple(site for site in self.rows if site.left is None)

    @property
    def left(self) -> tuple[Site, ...]:
        """Those that are left to jax.lax."""
        return tuple(site for site in self.rows if site.left is not None)

    def to_json(self) -> str:
        """The rows and the totals, as JSON."""
        rows = [asdict(site) for site in self.rows]
        return json.dumps({"sites": rows, "replaced": len(self.replaced), "left": len(self.left)}, indent=2)

    def __str__(self) -> str:
        header = ("line", "scope", "what", "shapes", "runs")
        lines = [header, *(_cells(site) for site in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join(line.rstrip() for line in [*(table if self.rows else ()), self._totals()])

    __repr__ = __str__

    def _totals(self) -> str:
        if not self.rows:
            return "no convolution and no pool found"
        return f"{_counted(self.replaced)} by hand-derived rules, {_counted(self.left)} left to jax.lax"


def _cells(site: Site) -> tuple[str, ...]:
    scope = "/".join(part for part in (*site.inside, site.scope) if part)
    *given, result = site.shapes
    factors = " + ".join([" * ".join(given[:2]), *given[2:]])
    runs = f"left to jax.lax: {site.left}" if site.runs is None else _in_words(site.runs)
    return site.line, scope, site.what, f"{factors} -> {result}", runs


def _in_words(runs: dict[str, str]) -> str:
    return ", ".join(f"{which} {name}" for which, name in runs.items())


def _counted(sites: tuple[Site, ...]) -> str:
    counts = Counter(site.what for site in sites)
    return ", ".join(_of_a_kind(what, count) for what, count in counts.items()) or "none"


def _of_a_kind(what: str, count: int) -> str:
    plural = "s" * (count > 1)
    return f"{count} chain{plural} ({what})" if ", " in what else f"{count} {what}{plural}"
