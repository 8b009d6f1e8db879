"""oneDNN for XLA:CPU: found, its handlers compiled once into the user's cache, loaded once.

The extra `jaxcnn[onednn]` brings oneDNN as a library and its headers; `onednn.cc`, beside this file, is compiled by the
system's C++ compiler, or by `ziglang` where that package is installed, when it is first asked for. What is compiled is
kept under a name that holds its source, compiler, flags and versions, so that none is ever out of date.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxcnn import _whole

SOURCE = Path(__file__).with_name("onednn.cc")
HANDLERS = ("correlate", "input_gradient", "kernel_gradient")
PACKAGES = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")
INSTALL = "pip install 'jaxcnn[onednn]'"
FLAGS = ("-O2", "-std=c++17", "-fPIC", "-shared", "-w")
NARROW = ("bfloat16", "float16")  # the bits of jaxcnn_onednn_narrow


class Engine(NamedTuple):
    """What was loaded.

    Attributes:
        version: of oneDNN's package.
        file: the compiled handlers.
        narrow: the narrow floats that this processor multiplies itself.
    """

    version: str
    file: Path
    narrow: tuple[np.dtype, ...]


class NotHere(Exception):
    """Why there is no engine, in words for people."""


def why_not() -> str | None:
    """Why oneDNN cannot be used here; None if it can, once it is loaded."""
    found = _loaded()
    return None if isinstance(found, Engine) else found


def engines() -> dict[str, str]:
    """The compiled engines below convolution: each one's version, or why it is not here, in words.

    It looks only: nothing is compiled or loaded.

    Example:
        >>> list(engines())
        ['onednn']
    """
    try:
        _files()
        _compiler()
    except NotHere as reason:
        return {"onednn": f"onednn is not here: {reason}"}
    return {"onednn": f"onednn {metadata.version(PACKAGES[0])}"}


def engine() -> Engine:
    """The engine; `NotHere` if there is none."""
    found = _loaded()
    if isinstance(found, str):
        raise NotHere(found)
    return found


def target(which: str) -> str:
    """The name under which XLA knows the handler of a map."""
    return f"jaxcnn_onednn_{which}"


@cache
def _loaded() -> Engine | str:
    """The engine, its handlers registered, or why there is none: looked for once per process."""
    try:
        library, include = _files()
        file = _compiled(library, include)
        handlers = ctypes.CDLL(str(file))
    except NotHere as reason:
        return str(reason)
    except OSError as error:
        return f"its library cannot be loaded: {error}"
    for which in HANDLERS:
        jax.ffi.register_ffi_target(target(which), jax.ffi.pycapsule(getattr(handlers, target(which))), platform="cpu")
    bits = handlers.jaxcnn_onednn_narrow()
    narrow = tuple(np.dtype(jax.numpy.dtype(name)) for bit, name in enumerate(NARROW) if bits >> bit & 1)
    return Engine(metadata.version(PACKAGES[0]), file, narrow)


def _files() -> tuple[Path, Path]:
    """oneDNN's library, and the folder of its headers."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NotHere(f"it is for Linux on x86-64, this is {sys.platform} on {platform.machine()}")
    library, header = _installed(PACKAGES[0], "libdnnl.so.3"), _installed(PACKAGES[1], "dnnl.hpp")
    return library, header.parent


def _installed(package: str, name: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise NotHere(f"the package {package} is not installed: {INSTALL}") from None
    for file in files:
        path = Path(str(file.locate())).resolve()
        if file.name == name and path.is_file():
            return path.parent / name
    raise NotHere(f"the package {package} has no {name}: {INSTALL} --force-reinstall")


def _compiled(library: Path, include: Path) -> Path:
    """The handlers, compiled unless they are in the cache."""
    compiler = _compiler()
    folders = [f"-I{jax.ffi.include_dir()}", f"-I{include}", f"-L{library.parent}", f"-Wl,-rpath,{library.parent}"]
    command = [*compiler, *FLAGS, *folders, str(SOURCE), f"-l:{library.name}"]
    versions = map(metadata.version, ("jaxlib", *PACKAGES))
    key = hashlib.sha256("\0".join([SOURCE.read_text(), *command, *versions]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxcnn"
    kept = folder / f"onednn-{key}.so"
    if kept.is_file():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as at:
        made = Path(at) / kept.name
        run = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, check=False)
        if run.returncode:
            said = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr.strip()[-200:])
            raise NotHere(f"{compiler[0]} could not compile it: {said}")
        _whole.write(kept, made.read_bytes())
    return kept


def _compiler() -> list[str]:
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    raise NotHere("there is no C++ compiler to compile it with: install g++, or pip install ziglang")
