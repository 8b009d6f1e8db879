"""Claim: a training that is killed at random moments, 200 times in all, ends with the bits of one that never was.

Machine: two cores of a shared CPU. Runs: as many as it takes for 200 kills, each to its end.

A run of `jaxcnn train` is killed (SIGKILL, which nothing can catch) a random time after it says what it begins with, is
resumed, killed again, and so on until it comes to its end. Its parameters and its metrics, times aside, are then
compared with those of a run that was left alone. After each kill every file must be whole, and the next life must begin
at the newest checkpoint that the last one left.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress

from experiments import report
from jaxcnn import runs

RESULT = Path(__file__).parent / "results" / "soak.json"
EVERY = 1000
EPOCHS = 25
# [V]'s own algorithm, one image per step, with all that a checkpoint holds: a schedule, validation, Adam's moments
OPTIONS = ["--batch-size", "1", "--epochs", str(EPOCHS), "--validation", "500", "--checkpoint-every", str(EVERY)]
OPTIONS += ["--schedule", "cosine_decay_schedule", "--learning-rate", "0.001"]
UNTIL_KILLED = 3.0  # seconds, at most, from when the data and the checkpoint are read


def soak(
    kills: Annotated[int, typer.Option(help="How many.")] = 200,
    seed: Annotated[int, typer.Option(help="What the moments are drawn from.")] = 0,
) -> None:
    """Kill, resume and compare, and write results/soak.json."""
    draw = random.Random(seed)
    lives: list[dict[str, Any]] = []
    finished = 0
    with tempfile.TemporaryDirectory() as at, Progress() as progress:
        bar = progress.add_task("kills", total=kills)
        folder, cache = Path(at), Path(at) / "compiled"
        started = time.perf_counter()
        _live(["--out", "whole", *OPTIONS], folder, cache, None)
        alone = time.perf_counter() - started
        expected = outcome(folder / "whole")
        while len(lives) < kills or (folder / "run").exists():
            is_new = not (folder / "run").exists()
            last = _newest(folder / "run")
            arguments = ["--out", "run", *OPTIONS] if is_new else ["--resume", "run"]
            # once there were enough kills, the last run is let come to its end
            said, was_killed = _live(
                arguments, folder, cache, draw.uniform(0, UNTIL_KILLED) if len(lives) < kills else None
            )
            if said.endswith("nothing is left to do\n"):  # killed after all was written, before it had ended
                finished += _is_whole(folder / "run", expected)
                shutil.rmtree(folder / "run")
                _write(seed, finished, alone, lives)
                continue
            found = re.findall(r"goes on from the checkpoint at step (\d+)", said)
            if found != ([str(last)] if last else []):
                raise SystemExit(f"the newest checkpoint was {last}, and not gone on from: {said}")
            if was_killed:
                _check_files(folder / "run")
                lives.append({"run": finished + 1, "began": last, "newest checkpoint": _newest(folder / "run")})
                progress.advance(bar)
                continue
            finished += _is_whole(folder / "run", expected)
            shutil.rmtree(folder / "run")
            _write(seed, finished, alone, lives)


def _write(seed: int, finished: int, alone: float, lives: list[dict[str, Any]]) -> None:
    """The result so far."""
    gains = [life["newest checkpoint"] - life["began"] for life in lives]
    result = {
        "kills": len(lives),
        "runs that came to their end": finished,
        "of them bit-identical": finished,
        "steps of a run": EPOCHS * 7500,
        "steps between checkpoints": EVERY,
        "lives that left a newer checkpoint": sum(gain > 0 for gain in gains),
        "seconds of the run left alone": round(alone, 1),
        "lives": lives,
    }
    report.write(RESULT, seed, result)


def _live(arguments: list[str], folder: Path, cache: Path, seconds: float | None) -> tuple[str, bool]:
    """What a process of the command says, and whether it was killed, `seconds` after it had begun to train."""
    program = (
        f"import jax; jax.config.update('jax_compilation_cache_dir', {str(cache)!r}); "
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0); "
        "from jaxcnn.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program, "train", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()  # what is trained on what
    if "--resume" in arguments:
        said += process.stdout.readline()  # which checkpoint it goes on from; what is left is compiling and training
    if seconds is not None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    said += process.communicate()[0]
    if process.returncode not in (0, -9):
        raise SystemExit(said)
    return said, process.returncode == -9


def _newest(run: Path) -> int:
    """The step of the newest checkpoint that counts; 0 without any."""
    return max((int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def _check_files(run: Path) -> None:
    """Whatever is there can be read."""
    runs.read_config(run)
    if (run / runs.METRICS).exists():
        runs.read_metrics(run)
    if (run / runs.PARAMETERS).exists():
        runs.read(run)


def _is_whole(run: Path, expected: Any) -> bool:
    """True: it ended as the one left alone, pictures included."""
    if outcome(run) != expected:
        raise SystemExit(f"{run} ended otherwise than the one left alone")
    missing = {"learning_curve.png", "confusion_matrix.png"} - {path.name for path in run.iterdir()}
    if missing:
        raise SystemExit(f"{run} lacks {missing}")
    return True


def outcome(run: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The parameters' bits, and the metrics without times."""
    with np.load(run / runs.PARAMETERS) as archive:
        bits = {name: archive[name].tobytes() for name in archive}
    lines = [
        {name: value for name, value in line.items() if name not in ("seconds", "images_per_second")}
        for line in runs.read_metrics(run)
    ]
    return bits, json.loads(json.dumps(lines))


if __name__ == "__main__":
    typer.run(soak)
