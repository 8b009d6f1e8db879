"""An op is one file and one export: all else is made from the record at the file's end."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import OPS

from experiments.gradients.mutants import of_a_record
from experiments.operations import PAGE, README, operations, pages
from jaxcnn import cli, cost, examples, ops, reference
from jaxcnn.check import check_vjp, residuals
from jaxcnn.ops._lib._record import records

RELU6 = '''"""The rectifier, cut off at 6.

Forward     y = min(max(x, 0), 6)
Backward    dx = dy [0 < x < 6]
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.ops._lib._record import IMAGES, Example, Op
from jaxcnn.ops._lib._theorems import pointwise


def reference(x: jax.Array) -> jax.Array:
    return jnp.where((x > 0) & (x < 6), x, jax.lax.stop_gradient(jnp.clip(x, 0, 6)))


def relu6(x: jax.Array) -> jax.Array:
    return _relu6(jnp.asarray(x))


_relu6 = pointwise(
    lambda x: jnp.clip(x, 0, 6),
    keeps=lambda x: (x > 0) & (x < 6),
    gradient=lambda is_inside, dy: jnp.where(is_inside, dy, 0),
)


OP = Op(
    relu6,
    reference,
    equations="none",
    kept="1 byte per element",
    at_kinks="derivative 0 at 0 and at 6",
    elsewhere="`jax.nn.relu6`",
    examples={"": Example(lambda m, x: m.relu6(x), (IMAGES,), is_exact=True, has_kinks=True)},
    residual_bytes=lambda args, y: y.size,
)
'''


@pytest.fixture
def relu6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file beside, and its export."""
    (tmp_path / "relu6_of_a_test.py").write_text(RELU6)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("relu6_of_a_test")
    monkeypatch.setitem(sys.modules, "relu6_of_a_test", module)
    monkeypatch.setattr(ops, "relu6", module.relu6, raising=False)
    return module


def test_an_op_is_known_everywhere(
    relu6: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = jnp.array([-1.0, 0.0, 5.0, 6.0, 7.0])
    assert reference.relu6 is relu6.reference and reference.relu6(x).tolist() == [0, 0, 5, 6, 6]
    example = examples.of_ops()["relu6"]
    check_vjp(example.by_hand, example.distinct(jax.random.key(0)), reference=example.by_autodiff, order=2)
    assert cost.of_op("relu6", x).residual_bytes == 5
    net = cost.of_net(lambda params, x, *, ops, state, **_: (ops.relu6(ops.relu(x)), state), {}, x)
    assert [row.op for row in net.rows] == ["relu", "relu6"]
    assert "| `relu6` | `relu6_of_a_test.py` | none | 1 byte per element | derivative 0 at 0 and at 6 |" in operations()
    assert "## `relu6`\n" in pages() and "- **elsewhere**: `jax.nn.relu6`\n" in pages()
    assert len(of_a_record("relu6")) == 3
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "check", "--op", "relu6"])
    with pytest.raises(SystemExit) as end:
        cli.run()
    assert end.value.code is None and "relu6" in capsys.readouterr().out


def test_an_op_without_a_record_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(x: jax.Array) -> jax.Array:
        return x

    monkeypatch.setattr(ops, "nobody", nobody, raising=False)
    with pytest.raises(LookupError, match="test_records has no record of nobody: end it with Op"):
        records()


def test_readme_and_docs_have_the_tables_of_today() -> None:
    assert operations() in README.read_text()
    assert pages() in PAGE.read_text()


def test_every_export_has_a_record_of_its_own() -> None:
    functions = {name for name, f in vars(ops).items() if inspect.isfunction(f)}
    assert set(records()) == set(reference.__all__) == functions - {"conv_plan", "engines"}
    assert len({id(op) for op in records().values()}) == len(records())


@pytest.mark.parametrize("name", OPS)
def test_residual_bytes_are_those_that_are_kept(name: str) -> None:
    """As the record counts them, at its own example, beside what `jax.vjp` keeps."""
    op = OPS[name]
    args = tuple(arg.astype(np.float32) for arg in op.args)
    kept = sum(array.bytes for array in residuals(jax.jit(op.ours), *args))

    def apply(params: Any, x: jax.Array, *, ops: Any, state: Any, **_: Any) -> tuple[jax.Array, Any]:
        return op.call(ops, *params, *op.held_for(params)), state

    table = cost.of_net(apply, args, jnp.zeros(()))
    assert table.total.residual_bytes == kept
