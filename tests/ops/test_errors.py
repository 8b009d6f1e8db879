"""Bad arguments: a `ValueError` of one line that names the op, the argument and what was given, before jax's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxcnn import ops

TYPES_ARE_CHECKED = os.environ.get("JAXCNN_NO_TYPECHECK") != "1"


@dataclass(frozen=True)
class Case:
    """A call and the words its refusal holds.

    `badly_typed` where an annotation is broken, which the tests' type checker may see first; `concrete` where the
    refusal needs values, which a tracer does not have.
    """

    op: Callable[..., Any]
    args: tuple[Any, ...]
    words: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    badly_typed: bool = False
    concrete: bool = False


def f32(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


X, K = f32(1, 5, 5, 4), f32(3, 3, 4, 2)
UP, UP_K = f32(1, 3, 3, 2), f32(3, 3, 4, 2)


def conv(*words: str, x: Any = X, kernel: Any = K, bias: Any = None, typed: bool = True, **options: Any) -> Case:
    return Case(ops.conv, (x, kernel, bias), ("conv:", *words), options, badly_typed=not typed)


def up(*words: str, x: Any = UP, kernel: Any = UP_K, bias: Any = None, typed: bool = True, **options: Any) -> Case:
    return Case(ops.conv_transpose, (x, kernel, bias), ("conv_transpose:", *words), options, badly_typed=not typed)


def pool(*words: str, x: Any = X, window: Any = 2, typed: bool = True, op: Any = None, **options: Any) -> Case:
    op = ops.max_pool if op is None else op
    return Case(op, (x,), (f"{op.__name__}:", *words), {"window": window, **options}, badly_typed=not typed)


def other(
    op: Callable[..., Any],
    *args: Any,
    words: tuple[str, ...],
    typed: bool = True,
    concrete: bool = False,
    **options: Any,
) -> Case:
    return Case(op, args, (f"{op.__name__}:", *words), options, badly_typed=not typed, concrete=concrete)


CASES = {
    # convolution: arrays
    "x without a batch": conv("x must be (N, *spatial, C)", "(5, 4)", "x[None]", x=f32(5, 4)),
    "x of another rank than kernel": conv("x (1, 5, 4)", "kernel (3, 3, 4, 2)", x=f32(1, 5, 4)),
    "integer images": conv("x", "floating dtype", "uint8", "astype", x=np.zeros((1, 5, 5, 4), np.uint8)),
    "boolean images": conv("x", "floating dtype", "bool", x=np.zeros((1, 5, 5, 4), bool)),
    "complex images": conv("x", "floating dtype", "complex64", x=np.zeros((1, 5, 5, 4), np.complex64)),
    "x a string": conv("x", "str", x="image", typed=False),
    "x None": conv("x", "NoneType", x=None, typed=False),
    "x a ragged list": conv("x", "list", x=[[1.0], [1.0, 2.0]], typed=False),
    "integer kernel": conv("kernel", "floating dtype", "int32", kernel=np.zeros((3, 3, 4, 2), np.int32)),
    "kernel of other channels": conv("kernel", "4", "3", "(3, 3, 3, 2)", kernel=f32(3, 3, 3, 2)),
    "kernel None": conv("kernel", "NoneType", kernel=None, typed=False),
    "an empty kernel": conv("window", "(0, 3)", kernel=f32(0, 3, 4, 2)),
    "kernel larger than x": conv("window", "6", "5", "axis 0", kernel=f32(6, 3, 4, 2)),
    "dilated kernel larger than x": conv("window", "7", "5", "dilation (3, 3)", dilation=3),
    "kernel larger than padded x": conv("window", "8", "7", "padding", kernel=f32(3, 8, 4, 2), padding=1),
    "x without pixels": conv("window", "0", x=f32(1, 0, 5, 4)),
    "bias of other channels": conv("bias", "(2,)", "(3,)", bias=f32(3)),
    "bias of two axes": conv("bias", "(2,)", "(1, 2)", bias=f32(1, 2)),
    "integer bias": conv("bias", "floating dtype", "int32", bias=np.zeros(2, np.int32)),
    # convolution: options
    "groups that do not divide C_in": conv("groups", "C_in = 4", "3", groups=3),
    "groups that do not divide C_out": conv("groups", "C_out = 2", "4", kernel=f32(3, 3, 1, 2), groups=4),
    "groups that kernel does not fit": conv("kernel", "4/2 = 2", "(3, 3, 4, 2)", groups=2),
    "groups zero": conv("groups", "positive", "0", groups=0),
    "groups negative": conv("groups", "positive", "-1", groups=-1),
    "groups a float": conv("groups", "1.0", groups=1.0, typed=False),
    "stride zero": conv("stride", "positive", "0", stride=0),
    "stride negative on one axis": conv("stride", "positive", "(1, -2)", stride=(1, -2)),
    "stride a float": conv("stride", "1.5", stride=1.5, typed=False),
    "stride of three axes": conv("stride", "(2)", "(1, 1, 1)", stride=(1, 1, 1)),
    "stride a string": conv("stride", "'2'", stride="2", typed=False),
    "dilation zero": conv("dilation", "positive", "(0, 1)", dilation=(0, 1)),
    "dilation None": conv("dilation", "None", dilation=None, typed=False),
    "unknown padding": conv("padding", "'SAME'", "'full'", padding="full"),
    "padding of three axes": conv("padding", "(1, 1, 1)", padding=(1, 1, 1)),
    "padding of one pair": conv("padding", "((1, 1),)", padding=((1, 1),)),
    "padding of triples": conv("padding", "(1, 1, 1)", padding=((1, 1, 1), (1, 1, 1))),
    "padding a float": conv("padding", "0.5", padding=0.5, typed=False),
    "padding of names": conv("padding", "SAME", padding=("SAME", "SAME"), typed=False),
    "padding None": conv("padding", "None", padding=None, typed=False),
    "stride of 2**40": conv("stride", "2**31", "1099511627776", stride=2**40),
    "padding of 2**40": conv("padding", "2**31", "1099511627776", padding=2**40),
    "dilation of 2**40": conv("dilation", "2**31", "1099511627776", dilation=2**40),
    "padding beyond any memory": conv("padded input", "no memory holds", "less padding", padding=2**30),
    "groups True": conv("groups", "positive int", "True", groups=True),
    "stride True": conv("stride", "positive int", "True", stride=True),
    "one image without its batch": conv("of as many spatial axes", "x[None]", x=f32(5, 5, 4)),
    "float8 preferred_element_type": conv(
        "preferred_element_type", "float8_e4m3fn", preferred_element_type=jnp.float8_e4m3fn
    ),
    "padding_mode a list": conv("padding_mode", "['edge']", padding=1, padding_mode=["edge"], typed=False),
    "padding_mode two of them": conv(
        "padding_mode must be one of", padding_mode=np.array(["edge", "edge"]), typed=False
    ),
    "no such precision": conv("precision must be None, 'default', 'high', 'highest'", "'foo'", precision="foo"),
    "fold: a size that is None": other(
        ops.fold, f32(1, 2, 2, 4), (1, None, 3, 1), 2, words=("shape must be a tuple of sizes",), typed=False
    ),
    "input_gradient: a size that is None": other(
        ops.input_gradient, X, K, (1, 3, None, 1), words=("x_shape must be a tuple of sizes",), typed=False
    ),
    "layer_norm: axis None": other(
        ops.layer_norm, f32(2, 3), f32(3), f32(3), words=("axis must be an int, got None",), axis=None, typed=False
    ),
    "a mask of several lengths": other(
        ops.softmax_cross_entropy,
        f32(2, 2, 3),
        np.zeros((2, 2), int),
        words=("where must be (2, 2) bool", "several lengths"),
        where=[[True], [False, True]],
        typed=False,
    ),
    "algorithm a tuple": conv("algorithm", "a mapping from correlate", algorithm=("taps",), typed=False),
    "algorithm with a list": conv("algorithm", "['a']", algorithm={"correlate": ["a"]}, typed=False),
    "integer preferred_element_type": conv("preferred_element_type", "int32", preferred_element_type="int32"),
    "unknown preferred_element_type": conv(
        "preferred_element_type", "wide", preferred_element_type="wide", typed=False
    ),
    # convolution's maps
    "correlate: channels": other(ops.correlate, X, f32(3, 3, 3, 2), words=("kernel", "(3, 3, 3, 2)")),
    "input_gradient: dy of another shape": other(
        ops.input_gradient, f32(1, 4, 4, 2), K, (1, 5, 5, 4), words=("dy", "(1, 3, 3, 2)", "(1, 4, 4, 2)")
    ),
    "input_gradient: dy of another batch": other(
        ops.input_gradient, f32(2, 3, 3, 2), K, (1, 5, 5, 4), words=("dy", "(1, 3, 3, 2)", "(2, 3, 3, 2)")
    ),
    "input_gradient: x_shape of another rank": other(
        ops.input_gradient, f32(1, 3, 3, 2), K, (5, 5), words=("x", "(5, 5)")
    ),
    "input_gradient: x_shape an int": other(
        ops.input_gradient, f32(1, 3, 3, 2), K, 5, words=("x_shape", "5"), typed=False
    ),
    "input_gradient: x_shape of floats": other(
        ops.input_gradient, f32(1, 3, 3, 2), K, (1, 5.0, 5, 4), words=("x_shape", "5.0"), typed=False
    ),
    "kernel_gradient: dy of other channels": other(
        ops.kernel_gradient, X, f32(1, 3, 3, 3), (3, 3, 4, 2), words=("dy", "(1, 3, 3, 2)", "(1, 3, 3, 3)")
    ),
    "kernel_gradient: kernel_shape None": other(
        ops.kernel_gradient, X, f32(1, 3, 3, 2), None, words=("kernel_shape", "None"), typed=False
    ),
    # transposed convolution: x (1, 3, 3, 2), kernel (3, 3, 4, 2)
    "conv_transpose: one image without its batch": up("of as many spatial axes", "x[None]", x=f32(3, 3, 2)),
    "conv_transpose: rows": up("x must be (N, *spatial, C)", "(3, 2)", x=f32(3, 2)),
    "conv_transpose: integer images": up("x", "floating dtype", "int32", x=np.zeros((1, 3, 3, 2), np.int32)),
    "conv_transpose: kernel None": up("kernel", "NoneType", kernel=None, typed=False),
    "conv_transpose: kernel of other channels": up("(*k, C_out/groups, C_in)", "C_in = 2", kernel=f32(3, 3, 4, 3)),
    "conv_transpose: a kernel as in Flax": up("C_in = 2", "(3, 3, 2, 4); of one as in Flax", kernel=f32(3, 3, 2, 4)),
    "conv_transpose: an empty kernel": up("window", "(0, 3)", kernel=f32(0, 3, 4, 2)),
    "conv_transpose: groups that do not divide": up("groups", "divides C_in = 2", "got 3", groups=3),
    "conv_transpose: groups True": up("groups", "positive int", "True", groups=True),
    "conv_transpose: bias of other channels": up("bias", "(4,)", "(2,)", bias=f32(2)),
    "conv_transpose: stride zero": up("stride", "positive", "0", stride=0),
    "conv_transpose: stride of three axes": up("stride", "(2)", "(1, 1, 1)", stride=(1, 1, 1)),
    "conv_transpose: dilation a float": up("dilation", "1.5", dilation=1.5, typed=False),
    "conv_transpose: output_padding below 0": up("output_padding must be an int of 0 or more", "-1", output_padding=-1),
    "conv_transpose: output_padding of three": up("output_padding", "(2)", "(1, 1, 1)", output_padding=(1, 1, 1)),
    "conv_transpose: output_padding None": up("output_padding", "None", output_padding=None, typed=False),
    "conv_transpose: unknown padding": up("padding", "'SAME'", "'FULL'", padding="FULL"),
    "conv_transpose: padding of one pair": up("padding", "((1, 1),)", padding=((1, 1),)),
    "conv_transpose: padding of all of y": up("padding ((3, 3), (3, 3))", "spatial size (-1, -1)", padding=3),
    "conv_transpose: no pixels": up("(1, 0, 3, 2)", "a place on each axis of x and of y", x=f32(1, 0, 3, 2)),
    "conv_transpose: stride of 2**40": up("stride", "2**31", "1099511627776", stride=2**40),
    "conv_transpose: y beyond any memory": up("no memory holds", output_padding=2**31 - 1),
    "conv_transpose: unknown algorithm": up("algorithm", "'toeplitz'", "'toplitz'", algorithm="toplitz"),
    "conv_transpose: no such precision": up("precision", "'foo'", precision="foo"),
    "conv_transpose: integer preferred_element_type": up(
        "preferred_element_type", "int32", preferred_element_type="int32"
    ),
    # pools
    "max_pool: x without channels": pool("x must be (N, *spatial, C)", "(5, 5)", "x[..., None]", x=f32(5, 5)),
    "max_pool: integer images": pool("x", "floating dtype", "int64", x=np.zeros((1, 4, 4, 1), np.int64)),
    "max_pool: window zero": pool("window", "positive", "0", window=0),
    "max_pool: window of one axis": pool("window", "(2)", "(2,)", window=(2,)),
    "max_pool: window a float": pool("window", "2.0", window=2.0, typed=False),
    "max_pool: window larger than x": pool("window", "6", "5", window=6),
    "max_pool: window wholly in padding": pool("wholly in padding", padding=2),
    "max_pool: stride zero": pool("stride", "positive", "0", stride=0),
    "max_pool: dilation zero": pool("dilation", "positive", "0", dilation=0),
    "max_pool: unknown ties": pool("ties", "'first'", "'all'", "'split'", "'last'", ties="last"),
    "max_pool: ties None": pool("ties", "None", ties=None, typed=False),
    "avg_pool: window larger than x": pool("window", "6", "5", window=6, op=ops.avg_pool),
    "avg_pool: negative padding": pool("padding", "-2", padding=-2, op=ops.avg_pool),
    "avg_pool: stride of three axes": pool("stride", "(1, 2, 3)", stride=(1, 2, 3), op=ops.avg_pool),
    "global_avg_pool: no places": other(ops.global_avg_pool, f32(1, 0, 4, 2), words=("x", "(1, 0, 4, 2)")),
    "global_avg_pool: rows": other(ops.global_avg_pool, f32(3, 4), words=("x", "(3, 4)")),
    # unfold and fold
    "unfold: rows": other(ops.unfold, f32(3, 4), 2, words=("x", "(3, 4)")),
    "unfold: window larger than x": other(ops.unfold, f32(1, 3, 1), 4, words=("window", "4", "3")),
    "fold: patches of another shape": other(
        ops.fold, f32(1, 3, 3), (1, 4, 1), 2, words=("patches", "(1, 3, 2)", "(1, 3, 3)")
    ),
    "fold: shape of another rank": other(ops.fold, f32(1, 3, 2), (1, 4, 4, 1), 2, words=("shape", "(1, 4, 4, 1)")),
    "fold: shape an int": other(ops.fold, f32(1, 3, 2), 4, 2, words=("shape", "4"), typed=False),
    # dense, relu, flatten
    "dense: one row": other(ops.dense, f32(4), f32(4, 2), words=("x", "(4,)", "x[None]")),
    "dense: features": other(ops.dense, f32(1, 4), f32(3, 2), words=("kernel", "F = 4", "(3, 2)")),
    "dense: kernel of three axes": other(ops.dense, f32(1, 4), f32(4, 2, 1), words=("kernel", "(4, 2, 1)")),
    "dense: bias": other(ops.dense, f32(1, 4), f32(4, 2), f32(4), words=("bias", "(2,)", "(4,)")),
    "dense: integers": other(ops.dense, np.ones((1, 4), int), f32(4, 2), words=("x", "floating dtype", "int64")),
    "relu: integers": other(ops.relu, np.ones(3, np.int32), words=("x", "floating dtype", "int32")),
    "relu: a string": other(ops.relu, "x", words=("x", "str"), typed=False),
    "flatten: a scalar": other(ops.flatten, np.float32(1), words=("x", "scalar")),
    # softmax and losses
    "softmax: wrong axis": other(ops.softmax, f32(2, 3), words=("axis", "(2, 3)", "2"), axis=2),
    "softmax: axis a float": other(ops.softmax, f32(2, 3), words=("axis", "1.5"), axis=1.5, typed=False),
    "softmax: a scalar": other(ops.softmax, np.float32(1), words=("axis", "()")),
    "softmax: nothing": other(ops.softmax, f32(2, 0), words=("z", "empty", "(2, 0)")),
    "loss: label too great": other(
        ops.softmax_cross_entropy,
        f32(2, 3),
        np.array([0, 3]),
        words=("labels", "[0, 3)", "3 at index 1"),
        concrete=True,
    ),
    "loss: labels negative": other(
        ops.cross_entropy, f32(2, 3), np.array([-1, -1]), words=("labels", "-1 at index 0", "1 more"), concrete=True
    ),
    "loss: labels of another batch": other(
        ops.softmax_cross_entropy, f32(2, 3), np.array([0]), words=("labels", "(2,)", "(1,)")
    ),
    "loss: labels one-hot in integers": other(
        ops.softmax_cross_entropy, f32(2, 3), np.eye(3, dtype=int)[:2], words=("labels", "floating", "int64 (2, 3)")
    ),
    "loss: labels floating classes": other(
        ops.cross_entropy, f32(2, 3), f32(2), words=("labels", "integer", "float32 (2,)")
    ),
    "loss: labels strings": other(
        ops.softmax_cross_entropy, f32(2, 3), ["seven", "two"], words=("labels", "list"), typed=False
    ),
    "loss: logits of three axes": other(
        ops.softmax_cross_entropy, f32(2, 3, 4), np.array([0, 1]), words=("logits", "(2, 3, 4)")
    ),
    "loss: no classes": other(ops.cross_entropy, f32(2, 0), np.array([0, 1]), words=("probabilities", "(2, 0)")),
    "cross_entropy: epsilon NaN": other(
        ops.cross_entropy, f32(1, 3), np.array([0]), words=("epsilon", "nan"), epsilon=float("nan")
    ),
    "cross_entropy: epsilon one half": other(
        ops.cross_entropy, f32(1, 3), np.array([0]), words=("epsilon", "0.5"), epsilon=0.5
    ),
    "cross_entropy: epsilon a string": other(
        ops.cross_entropy, f32(1, 3), np.array([0]), words=("epsilon", "small"), epsilon="small", typed=False
    ),
    "layer_norm: epsilon NaN": other(
        ops.layer_norm, f32(2, 3), f32(3), f32(3), words=("epsilon", "nan"), epsilon=float("nan")
    ),
    "layer_norm: epsilon zero": other(ops.layer_norm, f32(2, 3), f32(3), f32(3), words=("epsilon", "0.0"), epsilon=0.0),
    "layer_norm: wrong axis": other(ops.layer_norm, f32(2, 3), f32(3), f32(3), words=("axis", "(2, 3)", "-3"), axis=-3),
    "layer_norm: one axis twice": other(
        ops.layer_norm, f32(2, 3), f32(3), f32(3), words=("axis", "twice", "(1, -1)"), axis=(1, -1)
    ),
    "layer_norm: no axis": other(ops.layer_norm, f32(2, 3), f32(3), f32(3), words=("axis", "()"), axis=()),
    "layer_norm: scale": other(ops.layer_norm, f32(2, 3), f32(2), f32(3), words=("scale", "(3,)", "(2,)")),
    "layer_norm: bias": other(ops.layer_norm, f32(2, 3), f32(3), f32(1, 3), words=("bias", "(3,)", "(1, 3)")),
    "one_hot_prediction: one example": other(ops.one_hot_prediction, f32(3), words=("probabilities", "(3,)")),
}


def assert_refuses(case: Case, call: Callable[[], Any]) -> None:
    expected = (ValueError, TypeCheckError) if TYPES_ARE_CHECKED and case.badly_typed else ValueError
    with pytest.raises(expected) as raised:
        call()
    if isinstance(raised.value, ValueError):
        message = str(raised.value)
        assert "\n" not in message
        assert message.startswith(case.words[0])
        assert [word for word in case.words if word not in message] == [], message


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_argument_is_refused(case: Case) -> None:
    assert_refuses(case, lambda: case.op(*case.args, **case.options))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_argument_is_refused_while_jit_traces(case: Case) -> None:
    is_array = [isinstance(arg, np.ndarray) and not case.concrete for arg in case.args]

    def traced(*arrays: jax.Array) -> Any:
        remaining = iter(arrays)
        args = [next(remaining) if flag else arg for flag, arg in zip(is_array, case.args, strict=True)]
        return case.op(*args, **case.options)

    arrays = [arg for arg, flag in zip(case.args, is_array, strict=True) if flag]
    assert_refuses(case, lambda: jax.jit(traced).lower(*arrays))


@pytest.mark.long
def test_the_refusals_are_the_ops_own_and_not_the_type_checkers() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n0",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "is_refused",
    ]
    run = subprocess.run(
        command, env={**os.environ, "JAXCNN_NO_TYPECHECK": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
    assert f"{2 * len(CASES)} passed" in run.stdout
