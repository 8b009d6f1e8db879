"""What made a result: the commit, the versions, the devices, the day. For config.json, benchmarks and experiments."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import jaxcnn


def surroundings(devices: Sequence[jax.Device] | None = None) -> dict[str, Any]:
    """Where something is computed: results agree to the bit only where all of it does.

    Args:
        devices: those that are used; where None the first.

    Returns:
        what JSON can hold: `versions` by package, `devices` with the platform and the kind of each, how many
        `processes` there are, and how many `cores` this one may use.

    Example:
        >>> sorted(surroundings())
        ['cores', 'devices', 'processes', 'versions']
    """
    used = jax.devices()[:1] if devices is None else devices
    return {
        "versions": {
            "jaxcnn": jaxcnn.__version__,
            **versions("jax", "jaxlib", "numpy", "optax"),
            "python": platform.python_version(),
        },
        "devices": [{"platform": device.platform, "kind": device.device_kind} for device in used],
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def made_by(seed: int, *, device: str | None = None) -> dict[str, Any]:
    """What a result of measuring is kept with.

    Args:
        seed: what was drawn from.
        device: the device in words; where None, jax's, and how many there are.

    Returns:
        what JSON can hold: `seed`, `commit` (of a checkout alone), `date`, the version of each package, `device` and
        `cores`.

    Example:
        >>> made_by(3, device="an abacus")["device"], sorted({"seed", "date", "jax", "cores"} - {*made_by(3)})
        ('an abacus', [])
    """
    found = surroundings()
    count = jax.device_count()
    return {
        "seed": seed,
        **({"commit": at} if (at := commit()) else {}),
        "date": time.strftime("%Y-%m-%d"),
        **found["versions"],
        "device": device or f"{found['devices'][0]['kind']}, {count} device{'s' if count > 1 else ''}",
        "cores": found["cores"],
    }


def versions(*packages: str) -> dict[str, str]:
    """The versions of those of the packages that are installed.

    Example:
        >>> list(versions("numpy", "a-package-that-there-is-not"))
        ['numpy']
    """
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Of the checkout that this file is of, with "-dirty" where Python files differ from it; "" where it is of none.

    Results and pages that are being written anew make nothing dirty.
    """
    if not _git("ls-files", Path(__file__).name):
        return ""
    is_dirty = _git("status", "--porcelain", "--untracked-files=no", "--", ":/*.py")
    return _git("describe", "--always", "--exclude=*") + ("-dirty" if is_dirty else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:  # no git
        return ""
    return done.stdout.strip()
