"""What is said of a name that nothing here has: one wording, and the nearest name that there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One line that refuses a name, with the nearest known one.

    Example:
        >>> unknown("net", "Le-Net", ["single_filter", "lenet"])
        "unknown net 'Le-Net', expected one of single_filter, lenet: did you mean 'lenet'?"
    """
    known = list(known)
    return f"unknown {kind} {name!r}, expected one of {', '.join(known)}{did_you_mean(name, known)}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of such a line: a question, or nothing where no known name is near.

    Example:
        >>> did_you_mean("MNIST10k", ["mnist-10k", "mnist"]), did_you_mean("zebra", ["mnist-10k", "mnist"])
        (": did you mean 'mnist-10k'?", '')
    """
    found = nearest(name, known)
    return "" if found is None else f": did you mean {found!r}?"


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most alike, capitals and the kind of dash aside, if one is near at all.

    Example:
        >>> nearest("mian", ["main", "side"])
        'main'
    """
    plain = {_plain(each): each for each in known}
    found = difflib.get_close_matches(_plain(name), plain, n=1)
    return plain[found[0]] if found else None


def _plain(name: object) -> str:
    return str(name).lower().replace("-", "_")
