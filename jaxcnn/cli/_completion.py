"""What a shell's Tab key offers in place of a value: names that are known, and runs' folders that are there."""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Callable

_CONFIG = "config.json"  # as in jaxcnn.runs, which takes a second to load

Offer = Callable[[str], list[str]]


def names_in(module: str, attribute: str) -> Offer:
    """Offers the names in a table of the package, which is loaded when Tab is pressed.

    Example:
        >>> names_in("jaxcnn.session._settings", "OPS")("ma")
        ['manual']
    """

    def offered(incomplete: str) -> list[str]:
        table = getattr(importlib.import_module(module), attribute)
        names = dict.fromkeys(name.split()[0] for name in table)  # an example's name may also say of what kind it is
        return [name for name in names if name.startswith(incomplete)]

    return offered


def run_folders(incomplete: str) -> list[str]:
    """Offers the runs whose path begins so, up to two folders down."""
    found = (glob.glob(f"{glob.escape(incomplete)}*{deeper}/{_CONFIG}") for deeper in ("", "/*"))
    return sorted(os.path.dirname(path) for paths in found for path in paths)


OFFERS: dict[tuple[str, str], Offer] = {  # of a command's parameter
    ("train", "net"): names_in("jaxcnn.session._settings", "DEFAULTS"),
    ("train", "data"): names_in("jaxcnn.data", "NAMES"),
    ("train", "optimizer"): names_in("jaxcnn.train", "OPTIMIZERS"),
    ("train", "schedule"): names_in("jaxcnn.train", "SCHEDULES"),
    ("train", "precision"): names_in("jaxcnn.train", "PRECISIONS"),
    ("train", "ops"): names_in("jaxcnn.session._settings", "OPS"),
    ("train", "resume"): run_folders,
    ("train", "init_from"): run_folders,
    ("predict", "folder"): run_folders,
    ("report", "folders"): run_folders,
    ("explain", "folder"): run_folders,
    ("export", "folder"): run_folders,
    ("check", "op"): names_in("jaxcnn.examples", "OPS"),
    ("check", "net"): names_in("jaxcnn.examples", "NETS"),
    ("check", "dtype"): names_in("jaxcnn.cli.check", "_DTYPES"),
    ("bench", "what"): names_in("jaxcnn.cli.bench", "_WHAT"),
    ("bench", "target"): names_in("jaxcnn.bench", "TARGETS"),
}
