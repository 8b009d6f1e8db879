"""Ctrl-C, SIGTERM and a closed terminal at moments that are made to last: words, exit code, what the folder says.

Presses at random moments of every phase are in experiments/resilience.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxcnn import runs
from tests.command import ENVIRONMENT, start

SHORT = ["--epochs", "2", "--batch-size", "200"]
FAULTS = ("Traceback", "Exception ignored", "Fatal Python error")


def python(code: str, cwd: Path) -> subprocess.Popen[str]:
    """A process that runs this."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(cwd), str(Path(runs.__file__).parents[2])])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    assert any(text in line for line in process.stdout), process.communicate()[1]


def press(process: subprocess.Popen[str], number: signal.Signals, times: int = 1) -> tuple[str, float]:
    """What it says of presses a twentieth of a second apart, and how long its end took."""
    began = time.monotonic()
    for _ in range(times):
        if process.poll() is None:
            process.send_signal(number)
            time.sleep(0.05)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, err
    assert not [fault for fault in FAULTS if fault in err], err
    return err, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize("module", ["typer", "jax"])
def test_while_it_is_loaded(tmp_path: Path, number: signal.Signals, times: int, module: str) -> None:
    """In the midst of an import, by code that would take the exception for another."""
    (tmp_path / f"{module}.py").write_text(
        "import time\nprint('loading', flush=True)\nwhile True:\n"
        "    try:\n        time.sleep(60)\n    except BaseException:\n        pass\n"
    )
    process = python("import sys; sys.argv = ['jaxcnn', 'train']; from jaxcnn.cli import main; main()", tmp_path)
    wait_for_line(process, "loading")
    err, _ = press(process, number, times)
    assert err == "jaxcnn: interrupted\n"
    assert not (tmp_path / "runs").exists()


def test_while_the_main_thread_hears_nothing(tmp_path: Path) -> None:
    """As in a compiler: outside of Python, for half a minute, with its lock let go."""
    code = (
        "import ctypes, signal, threading; from jaxcnn.cli._interrupt import interrupt; interrupt.watch()\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "print('deaf', flush=True); ctypes.CDLL(None).sleep(30)"
    )
    process = python(code, tmp_path)
    wait_for_line(process, "deaf")
    err, seconds = press(process, signal.SIGINT)
    assert err == "jaxcnn: interrupted\n" and seconds < 10


def test_what_is_being_written_is_written_whole(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path\n"
        "from jaxcnn._whole import WHOLE; from jaxcnn.cli._interrupt import interrupt; interrupt.watch()\n"
        "with WHOLE, open('file', 'w') as file:\n"
        "    print('begun', file=file, flush=True); print('writing', flush=True)\n"
        "    time.sleep(1.5); print('ended', file=file)\n"
        "time.sleep(30)"
    )
    process = python(code, tmp_path)
    wait_for_line(process, "writing")
    err, seconds = press(process, signal.SIGTERM, times=3)
    assert (tmp_path / "file").read_text() == "begun\nended\n" and seconds < 10
    assert err == "jaxcnn: interrupted: stopping when what is being written is whole\njaxcnn: interrupted\n"


def test_a_file_that_is_never_whole_does_not_keep_the_process(tmp_path: Path) -> None:
    code = (
        "import time; from jaxcnn._whole import WHOLE; from jaxcnn.cli import _interrupt\n"
        "_interrupt.GIVEN_UP_SECONDS = 0.5; _interrupt.interrupt.watch()\n"
        "with WHOLE: print('writing', flush=True); time.sleep(30)"
    )
    process = python(code, tmp_path)
    wait_for_line(process, "writing")
    err, seconds = press(process, signal.SIGTERM)
    assert seconds < 10 and err.endswith("jaxcnn: interrupted\n")


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_before_there_is_anything_to_save_the_end_comes_at_once(tmp_path: Path, times: int) -> None:
    """The header is there, the step is being compiled: XLA's threads are in the midst of it."""
    process = start("train", *SHORT, "--out", "run", cwd=tmp_path, JAX_ENABLE_COMPILATION_CACHE="false")
    wait_for_line(process, "single_filter on 8,000 images")
    err, _ = press(process, signal.SIGINT, times)
    assert err == "jaxcnn: interrupted before the first checkpoint; jaxcnn train --resume run begins again\n"
    assert runs.read_config(tmp_path / "run")["status"] == "interrupted"
    assert not [*(tmp_path / "run").glob(".*.partial")]
    if times == 1:
        process = start("train", "--resume", "run", cwd=tmp_path)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "") and "epoch 2/2" in out
        assert runs.read_config(tmp_path / "run")["status"] == "finished"


def test_the_second_press_does_not_wait(tmp_path: Path) -> None:
    """Of a training that hears the first, and takes half a minute to come to its next step."""
    code = (
        "import sys, time; from jaxcnn import runs; add = runs.Recorder.add\n"
        "def slow(*arguments):\n    add(*arguments); time.sleep(30)\n"
        "def add_once(*arguments):\n"
        "    add(*arguments); print('a step', flush=True); runs.Recorder.add = slow\n"
        "runs.Recorder.add = add_once\n"
        "sys.argv = ['jaxcnn', 'train', '--out', 'run']; from jaxcnn.cli import main; main()"
    )
    process = python(code, tmp_path)
    wait_for_line(process, "a step")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "jaxcnn: interrupted: saving, then stopping; once more stops at once\n"
    time.sleep(0.5)  # what comes sooner counts as the same press
    err, seconds = press(process, signal.SIGINT)
    assert err.startswith("jaxcnn: interrupted") and err.endswith("begins again\n") and seconds < 10
    assert runs.read_config(tmp_path / "run")["status"] == "interrupted"


def at_a_terminal(
    *arguments: str, cwd: Path, at_its_end: str, out: int | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """The command as the leader of a session whose terminal ends with the returned descriptor."""
    ours, its = pty.openpty()
    code = (
        "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"signal.signal(signal.SIGHUP, signal.{at_its_end})\n"
        f"sys.argv = {['jaxcnn', *arguments]}; from jaxcnn.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=ENVIRONMENT,
        start_new_session=True,
        stdin=its,
        stdout=its if out is None else out,
        stderr=its if out is None else out,
    )
    os.close(its)
    return process, ours


def test_a_terminal_that_is_closed_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    """Though nothing can be printed from there on."""
    process, terminal = at_a_terminal("train", "--epochs", "50", "--out", "run", cwd=tmp_path, at_its_end="SIG_DFL")
    printed = b""
    while b"epoch 2/50" not in printed:
        printed += os.read(terminal, 1024)
    os.close(terminal)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert runs.read_config(tmp_path / "run")["status"] == "interrupted"
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.long
def test_nohup_is_obeyed(tmp_path: Path) -> None:
    process, terminal = at_a_terminal(
        "train", *SHORT, "--out", "run", cwd=tmp_path, at_its_end="SIG_IGN", out=subprocess.DEVNULL
    )
    time.sleep(1)
    os.close(terminal)
    assert process.wait(timeout=120) == 0
    assert runs.read_config(tmp_path / "run")["status"] == "finished"


def test_a_pipe_that_nobody_reads_any_more_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    with start("train", *SHORT, "--out", "run", cwd=tmp_path) as process:
        wait_for_line(process, "single_filter")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 1
    assert runs.read_config(tmp_path / "run")["status"] == "interrupted"
