"""Claim: Ctrl-C and SIGTERM are answered within a second at any moment, and never end in a fault.

Machine: two cores of a shared CPU. Runs: one process at a time, each on a pseudo-terminal of its own, pressed at a
random moment of one phase: once, twice or ten times, by the terminal's Ctrl-C or by SIGTERM. Of some the terminal is
closed, which nobody can be answered at. The next life is pressed in the phase that has had the fewest presses.

A fault is a death by a signal, a traceback, a press without an answer, an exit code that is not 130 or 143 (129 of a
closed terminal; 0 of what had come to its end), or a run's folder that says "running". Every few lives the run is gone
on with, and must end with the bits of one that was left alone.
"""

from __future__ import annotations

import os
import pty
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from experiments import report
from experiments.resilience.soak import outcome
from jaxcnn import runs

RESULTS = Path(__file__).parent / "results"
EPOCHS = 4
TRAIN = ["train", "--out", "run", "--epochs", str(EPOCHS), "--batch-size", "16", "--checkpoint-every"]
OFTEN, SELDOM = "100", "100000"  # steps: so that a moment of training is seldom one of a checkpoint
OTHERS = {
    "predict": ["predict", "whole", "digits"],
    "report": ["report", "whole", "--out", "page.html"],
    "export": ["export", "whole", "--out", "network"],
    "explain": ["explain", "whole", "--out", "picture.png"],
    "check": ["check", "--net", "lenet"],
    "bench": ["bench", "ops", "--quick", "--only", "pool", "--out", "times.json"],
}
PHASES = ("imports", "before the header", "compiling", "training", "checkpoint", "ending", "other commands")
LAST_LINE = f"epoch {EPOCHS}/{EPOCHS}  loss".encode()
ANSWER = b"jaxcnn: interrupted"
FAULTS = (b"Traceback", b"Exception ignored", b"Fatal Python error", b"Segmentation", b"terminate called")
RESUMED_EACH = 8
A_CHECKPOINT_SECONDS = 0.02  # about what the writing of one takes
ENDS_WITHIN = 60.0


class Life:
    """A process on a pseudo-terminal: what it has `said`, and when it `answered` a press."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        """Start the command, with the terminal as its own, so that Ctrl-C typed there reaches it."""
        self.terminal, its = pty.openpty()
        self.said = bytearray()
        self.answered: float | None = None
        self.is_closed = False
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "jaxcnn", *arguments],
            cwd=folder,
            stdin=its,
            stdout=its,
            stderr=its,
            env=os.environ | {"PYTHONPATH": str(Path(runs.__file__).parents[2]), "TERM": "xterm"},
        )
        os.close(its)

    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.poll() is not None

    def follow(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Read what it says for so long, or until something is so: whether it came to be."""
        deadline = time.monotonic() + seconds
        if self.is_closed:
            while not (found := until()) and time.monotonic() < deadline:
                time.sleep(0.005)
            return found
        while not (found := until()) and (left := deadline - time.monotonic()) > 0:
            if select.select([self.terminal], [], [], min(left, 0.005))[0]:
                try:
                    self.said.extend(os.read(self.terminal, 65536))
                except OSError:  # nobody has the terminal any more
                    self.process.wait()
                    return until()
                if self.answered is None and ANSWER in self.said:
                    self.answered = time.monotonic()
            elif self.has_ended():
                return until()
        return found

    def press(self, number: signal.Signals) -> bool:
        """Once: Ctrl-C is typed, SIGTERM sent, the terminal closed; whether there was still somebody to press."""
        if self.has_ended():
            return False
        if number == signal.SIGINT:
            os.write(self.terminal, b"\x03")
        elif number == signal.SIGTERM:
            self.process.send_signal(number)
        else:
            os.close(self.terminal)
            self.is_closed = True
        return True

    def catches(self) -> bool:
        """Whether the command has come so far that it sees to its signals itself; before, they are Python's."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        caught = int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def close(self) -> None:
        """Let go of the terminal; what has not ended is killed."""
        if not self.has_ended():
            self.process.kill()
            self.process.wait()
        if not self.is_closed:
            os.close(self.terminal)


def presses(
    presses_each: Annotated[int, typer.Option("--presses", help="How many at least, of each phase.")] = 200,
    seed: Annotated[int, typer.Option(help="What the moments are drawn from.")] = 0,
    minutes: Annotated[float, typer.Option(help="Begin no life after so long.")] = 600.0,
    out: Annotated[Path | None, typer.Option(help="Where the results are written; else beside the others.")] = None,
) -> None:
    """Press, look and resume, and write results/presses_SEED.json."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where this was started by nohup, which the lives would obey
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    had, lives = Counter(dict.fromkeys(PHASES, 0)), Counter(dict.fromkeys(PHASES, 0))
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as at, Progress() as progress:
        folder = Path(at)
        lengths = _left_alone(folder)
        expected = outcome(folder / "whole")
        bar = progress.add_task("presses", total=presses_each * len(PHASES))
        while min(had.values()) < presses_each and time.monotonic() < until:
            phase = min(PHASES, key=had.__getitem__)
            is_resumed = lives[phase] % RESUMED_EACH == 0
            lives[phase] += 1
            while not (row := _one(phase, folder, draw, lengths, expected if is_resumed else None)):
                continue  # it had ended before it was pressed
            rows.append({"seed": seed, **row})
            had["other commands" if row["command"] != "train" else row["phase"]] += row["presses before the end"]
            progress.update(bar, completed=sum(min(each, presses_each) for each in had.values()))
            report.write(out or RESULTS / f"presses_{seed}.json", seed, {"lives": rows})


def _left_alone(folder: Path) -> dict[str, float]:
    """How long each phase takes, and each other command, by one life of each that nobody presses."""
    from PIL import Image

    from jaxcnn import data

    life = Life([*TRAIN[:2], "whole", *TRAIN[3:], OFTEN], folder)
    lengths = {}
    marks: list[tuple[str, Callable[[], bool]]] = [
        ("imports", (folder / "whole" / runs.CONFIG).exists),
        ("before the header", lambda: b"single_filter on" in life.said),
        ("compiling", lambda: b"epoch 1/" in life.said),
        ("epochs", lambda: LAST_LINE in life.said),
        ("ending", life.has_ended),
    ]
    last = life.began
    for phase, is_past in marks:
        if not life.follow(ENDS_WITHIN, is_past):
            raise SystemExit(f"{phase} has no end: {life.said.decode()}")
        lengths[phase], last = time.monotonic() - last, time.monotonic()
    life.close()
    seldom = Life([*TRAIN, SELDOM], folder)
    seldom.follow(ENDS_WITHIN, lambda: b"epoch 1/" in seldom.said)
    began = time.monotonic()
    seldom.follow(ENDS_WITHIN, lambda: LAST_LINE in seldom.said)
    lengths["training"], lengths["checkpoint"] = time.monotonic() - began, A_CHECKPOINT_SECONDS
    seldom.follow(ENDS_WITHIN, seldom.has_ended)
    seldom.close()
    (folder / "digits").mkdir()
    for number, image in enumerate(data.load().test.images[:50]):
        Image.fromarray(image[:, :, 0]).save(folder / "digits" / f"{number}.png")
    for name, arguments in OTHERS.items():
        life = Life(arguments, folder)
        life.follow(4 * ENDS_WITHIN, life.has_ended)
        if life.process.returncode != 0:
            raise SystemExit(life.said.decode())
        lengths[name] = time.monotonic() - life.began
        life.close()
    return lengths


def _one(
    phase: str, folder: Path, draw: random.Random, lengths: dict[str, float], expected: Any | None
) -> dict[str, Any] | None:
    """One life, pressed at a random moment of the phase; None where that was past its end."""
    run = folder / "run"
    _clear(folder)
    name = draw.choice(list(OTHERS)) if phase == "other commands" else "train"
    number = draw.choices((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), (4, 4, 1))[0]
    times = 1 if number == signal.SIGHUP else draw.choices((1, 2, 10), (5, 4, 1))[0]
    life = Life(OTHERS.get(name, [*TRAIN, SELDOM if phase == "training" else OFTEN]), folder)
    life.follow(ENDS_WITHIN, life.catches)
    catches = time.monotonic() - life.began
    _wait_for(phase, life, run)
    length = lengths.get(name if phase == "other commands" else phase, 0.0)
    life.follow(draw.uniform(0, length))
    if life.has_ended():
        life.close()
        return None
    seen = _phase_of(life, run, name)
    pressed = time.monotonic()
    felt = int(life.press(number))
    for _ in range(times - 1):
        life.follow(10 ** draw.uniform(-3, -1 if times == 10 else -0.2))
        felt += life.press(number)
    life.follow(ENDS_WITHIN, life.has_ended)
    ended = time.monotonic() - pressed
    life.follow(0.2)
    code = life.process.poll()
    life.close()
    status = _status(run)
    row = {
        "command": name,
        "phase": seen,
        "seconds until it sees to its signals": round(catches, 3),
        "signal": number.name,
        "presses": times,
        "presses before the end": felt,
        "exit code": code,
        "seconds to the answer": None if life.answered is None else round(life.answered - pressed, 3),
        "seconds to the end": round(ended, 3),
        "folder": status,
    }
    had_ended = code == 0 and (status == "finished" or name != "train")
    wrong = [
        *([f"exit code {code}"] if code != 128 + number and not had_ended else []),
        *(["no answer"] if life.answered is None and not had_ended and number != signal.SIGHUP else []),
        *([f"the folder says {status}"] if status in ("running", "nothing") else []),
        *(text.decode() for text in FAULTS if text in life.said),
    ]
    if expected is not None and status == "interrupted":
        row["resumed"] = _ends_the_same(folder, run, expected)
        wrong += [] if row["resumed"] else ["resumed otherwise than left alone"]
    if wrong:
        row |= {"wrong": "; ".join(wrong), "said": life.said.decode(errors="replace")[-2000:]}
    return row


def _status(run: Path) -> str:
    """What the folder says."""
    if not run.exists():
        return "no folder"
    return str(runs.read_config(run)["status"]) if (run / runs.CONFIG).exists() else "nothing"


def _clear(folder: Path) -> None:
    shutil.rmtree(folder / "run", ignore_errors=True)
    for name in ("page.html", "network", "network.json", "picture.png", "times.json"):
        (folder / name).unlink(missing_ok=True)


def _wait_for(phase: str, life: Life, run: Path) -> None:
    """Until the phase begins; of imports and other commands it has."""
    begins: dict[str, Callable[[], bool]] = {
        "before the header": (run / runs.CONFIG).exists,
        "compiling": lambda: b"single_filter on" in life.said,
        "training": lambda: b"epoch 1/" in life.said,
        "checkpoint": lambda: _is_being_saved(run),
        "ending": lambda: LAST_LINE in life.said,
    }
    if phase in begins:
        life.follow(ENDS_WITHIN, begins[phase])


def _is_being_saved(run: Path) -> bool:
    """Whether a checkpoint is being written."""
    try:
        return any("tmp" in path.name for path in (run / "checkpoints").iterdir())
    except OSError:
        return False


def _phase_of(life: Life, run: Path, name: str) -> str:
    """Where the process is now, by what it has said and left."""
    if name != "train":
        return f"jaxcnn {name}"
    if not (run / runs.CONFIG).exists():
        return "imports"
    if b"single_filter on" not in life.said:
        return "before the header"
    if b"epoch 1/" not in life.said:
        return "compiling"
    if LAST_LINE in life.said:
        return "ending"
    return "checkpoint" if _is_being_saved(run) else "training"


def _ends_the_same(folder: Path, run: Path, expected: Any) -> bool:
    """Go on with the run to its end, and compare."""
    life = Life(["train", "--resume", "run"], folder)
    life.follow(4 * ENDS_WITHIN, life.has_ended)
    code = life.process.poll()
    life.close()
    return code == 0 and bool(outcome(run) == expected)


if __name__ == "__main__":
    typer.run(presses)
