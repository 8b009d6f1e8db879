"""`jaxcnn sites FILE.py:FUNCTION`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import start

FILE = """
import jax, jax.numpy as jnp
from beside import STEP

def loss(kernel, x):
    return jnp.sum(jax.lax.conv_general_dilated(x, kernel, STEP, "SAME"))

def example():
    return jax.ShapeDtypeStruct((2, 1, 3, 3), jnp.float32), jnp.ones((4, 1, 8, 8))

def alone():
    return loss(jnp.ones((2, 1, 3, 3)), jnp.ones((4, 1, 8, 8)))

number = 3
def fails():
    raise KeyError("its own")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("STEP = (1, 1)")
    (tmp_path / "model.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("1 / 0")
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[str, str, int]:
    process = start("sites", *arguments, cwd=folder)
    out, err = process.communicate(timeout=120)
    return out, err, process.returncode


def test_a_table_and_data(folder: Path) -> None:
    out, err, code = run(folder, "model.py:loss", "--args", "example")
    assert (err, code) == ("", 0)
    lines = out.splitlines()
    assert "model.py:6 (loss)" in lines[1] and "float32[4,1,8,8] * float32[2,1,3,3] -> float32[4,2,8,8]" in lines[1]
    assert lines[2] == "1 convolution by hand-derived rules, none left to jax.lax"
    out, err, code = run(folder, "model.py:alone", "--json")
    assert (err, code, json.loads(out)["replaced"]) == ("", 0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("model.py",), "name a function as FILE.py:FUNCTION, as in train.py:loss, got model.py"),
        (("none.py:f",), "there is no file none.py"),
        (("broken.py:f",), "broken.py cannot be imported: ZeroDivisionError: division by zero"),
        (("model.py:lost",), "model.py has no lost"),
        (("model.py:number",), "model.py:number is no function"),
        (("model.py:loss",), "loss takes kernel, x: give --args NAME, of a tuple in model.py, or what returns one"),
        (("model.py:loss", "--args", "number"), "--args must name a tuple or what returns one; number is int"),
        (("model.py:fails",), "fails cannot be traced: KeyError: 'its own'"),
    ],
)
def test_what_is_said_of_mistakes(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    assert run(folder, *arguments) == ("", f"jaxcnn: {said}\n", 2)
