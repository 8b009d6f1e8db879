"""The `jaxcnn` command in a process of its own, without float64 and without the type checker of `conftest.py`."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import jaxcnn

SCRIPT = shutil.which("jaxcnn", path=sysconfig.get_path("scripts"))
COMMAND = [SCRIPT] if SCRIPT else [sys.executable, "-m", "jaxcnn"]
REPOSITORY = Path(jaxcnn.__file__).parents[1]
# most of a process's time is compiling the step that the one before it compiled
COMPILED = tempfile.TemporaryDirectory()
SETTINGS = {
    "PYTHONWARNINGS": "error",
    "COLUMNS": "200",
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
ENVIRONMENT = os.environ | ({} if SCRIPT else {"PYTHONPATH": str(REPOSITORY)}) | SETTINGS


def start(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Begin it, in the folder `cwd`, with these variables set besides."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str | Path, cwd: Path, code: int = 0) -> str:
    """What the command prints, to stdout where it should succeed and to stderr, one line, where it should not."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    assert process.returncode == code, err
    if code:
        assert len(err.splitlines()) == 1 and err.startswith("jaxcnn: ")
        return err
    assert err == ""
    return out
