"""`jaxcnn check`, and the examples it goes through."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import cli, examples, nets, ops, reference
from jaxcnn.check import residuals
from jaxcnn.examples import NETS, OPS, Example


def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Any, str, str]:
    """Its exit code, and what it prints to stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "check", *options])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    return stopped.value.code, *capsys.readouterr()


def wrong_relu(module: Any, x: jax.Array) -> jax.Array:
    """Twice the gradient by hand; right by autodiff."""
    y = module.relu(x)
    return 2 * y - jax.lax.stop_gradient(y) if module is ops else y


def test_every_op_and_network_has_an_example() -> None:
    assert {name.split()[0] for name in OPS} == set(reference.__all__)
    assert list(NETS) == list(nets.NETS)


@pytest.mark.parametrize("name", [*OPS, *NETS])
def test_examples_draw_what_they_say(name: str) -> None:
    example = (OPS | NETS)[name]
    for draw in (example.distinct, example.integers):
        args = draw(jax.random.key(0), "float32")
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), args) == jax.tree.map(
            lambda leaf: (leaf.shape, jnp.dtype("float32")), example.like
        )
    by_hand, by_autodiff = (jax.eval_shape(f, *args) for f in (example.by_hand, example.by_autodiff))
    assert (by_hand.shape, by_hand.dtype) == (by_autodiff.shape, by_autodiff.dtype)


def test_a_table_of_what_was_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(monkeypatch, capsys, "--op", "relu", "--op", "flatten")
    assert (code, err) == (None, "")
    rows = [line for line in out.splitlines() if "✓" in line]
    assert [row.split()[0] for row in rows] == ["flatten", "relu"]
    assert all(row.count("✓") == 5 and "✗" not in row for row in rows)
    legend = out.partition("float64, order 2, jaxcnn")[2]
    for word in ("value, grad", "diff", "2nd", "ties", "ulps", "bytes kept"):
        assert re.search(rf"(?m)^{word} +[a-z]", legend), word
    assert "float64, order 2, jaxcnn" in out


def test_json_has_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(monkeypatch, capsys, "--op", "relu", "--dtype", "float32", "--order", "1", "--json")
    document = json.loads(out)
    (row,) = document["rows"]
    assert code is None and row["passed"] and not row["problems"]
    assert (document["dtype"], document["order"], document["made_by"]["jax"]) == ("float32", 1, jax.__version__)
    assert row["value"] == [True, True] and row["gradients"] == [True, True, True]
    assert row["higher"] == row["differences"] == []
    assert row["residual_bytes"]["by_hand"] == 3 * 3 * 4 * 4
    assert row["largest_error_ulps"] == 0 and row["where"] == "value [0, 0, 0, 0]"


def test_a_wrong_gradient_is_shown_and_the_exit_code_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Example(wrong_relu, OPS["relu"].like, is_exact=True, has_kinks=True)
    monkeypatch.setattr(examples, "of_ops", lambda: {"flatten": OPS["flatten"], "relu": wrong})
    code, out, _ = check(monkeypatch, capsys, "--op", "relu", "--op", "flatten")
    assert code == 1
    assert [line.count("✗") for line in out.splitlines() if "✓" in line][:1] == [0]
    (line,) = [line for line in out.splitlines() if line.startswith("relu  ")]
    assert line.split()[1:6] == ["✓", "✗", "✗", "✗", "✗"]
    assert "relu: gradient of args[0] is off at index (" in out and "reproduce: pull = " in out


def test_a_wrong_shape_is_one_row_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shapeless = Example(lambda m, x: m.relu(x) if m is ops else m.relu(x)[0], OPS["relu"].like)
    monkeypatch.setattr(examples, "of_ops", lambda: {"relu": shapeless})
    code, out, _ = check(monkeypatch, capsys, "--op", "relu")
    assert code == 1
    assert "relu: value is float64(3, 3, 4, 4) against the reference's float64(3, 4, 4)" in out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--op", "pool"], "unknown --op 'pool', expected one of avg_pool, conv, "),
        (
            ["--net", "lenet5"],
            "unknown --net 'lenet5', expected one of single_filter, gap_cnn, lenet: did",
        ),
        (
            ["--dtype", "float46"],
            "unknown --dtype 'float46', expected one of float64, float32, bfloat16, float16",
        ),
        (["--order", "0"], "greater than or equal to 1"),
    ],
)
def test_what_there_is_not_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    code, out, err = check(monkeypatch, capsys, *options)
    assert (code, out) == (2, "") and complaint in err and len(err.splitlines()) == 1


def run(*options: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process and an environment of its own."""
    command = [sys.executable, "-m", "jaxcnn", "check", *options]
    where = {"PYTHONPATH": str(Path(__file__).parents[1]), "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | where)


def test_a_terminal_without_unicode_and_a_device_that_is_not_there() -> None:
    plain = run("--op", "relu", PYTHONIOENCODING="ascii")
    assert plain.returncode == 0 and "yes" in plain.stdout, plain.stderr
    missing = run("--op", "relu", JAX_PLATFORMS="nowhere")
    assert missing.returncode == 2
    assert missing.stderr.startswith("jaxcnn: jax finds no device with JAX_PLATFORMS='nowhere'")
    assert len(missing.stderr.splitlines()) == 1


def test_a_reader_that_leaves_is_no_wrong_gradient() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert run("--op", "relu", "--json", stdout=writer).returncode == -signal.SIGPIPE
    os.close(writer)


@pytest.mark.long
def test_every_op_and_network_is_right_as_compiled_in_use() -> None:
    done = run("--order", "1", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert done.returncode == 0, [problem for row in rows for problem in row["problems"]]
    assert [row["name"] for row in rows] == [*OPS, *NETS]
    assert all(row["differences"] == [True] * 4 for row in rows)


@pytest.mark.parametrize("name", NETS)
def test_networks_keep_less_by_hand_than_by_autodiff(name: str) -> None:
    """The pooled and the rectified leave bytes where autodiff keeps floats."""
    net = NETS[name]
    by_hand, by_autodiff = (
        sum(kept.bytes for kept in residuals(jax.jit(f), *net.like)) for f in (net.by_hand, net.by_autodiff)
    )
    assert by_hand < by_autodiff
