"""Planted wrong rules of the mutation study are caught, and nothing else is: their right twins pass.

A fixed sample at one point each; `experiments/gradients` tries all of them at many.
"""

from __future__ import annotations

import jax
import pytest

from experiments.gradients.mutants import IN_USE_MUTANTS, MUTANTS, OPS, Mutant, Op, of_a_record
from jaxcnn.check import Kind, check_vjp, comparisons
from jaxcnn.ops._lib._record import records

TAKES_TEN_SECONDS_TO_COMPILE = "300 ties"
SAMPLE = [
    mutant
    for number, mutant in enumerate(MUTANTS)
    if TAKES_TEN_SECONDS_TO_COMPILE not in mutant.name
    and (number % 12 == 0 or mutant in IN_USE_MUTANTS or mutant.op.function != MUTANTS[number - 1].op.function)
]
IN_USE = [mutant.op for mutant in IN_USE_MUTANTS if TAKES_TEN_SECONDS_TO_COMPILE not in mutant.name]
RIGHT = tuple(dict.fromkeys([*OPS[::4], *IN_USE]))


def test_every_op_with_a_rule_has_mutants() -> None:
    with_a_rule = {op.name for op in records().values() if op.has_rule} - {"conv_general_dilated"}  # which is conv's
    assert {mutant.op.function for mutant in SAMPLE} == with_a_rule


def test_mutants_of_any_record_are_caught() -> None:
    """As those of an op that nobody has planted any in."""
    for mutant in of_a_record("relu"):
        with pytest.raises(AssertionError, match="gradient of"):
            check_vjp(mutant.wrong, mutant.op.draw(jax.random.key(0)), reference=mutant.op.plain)


def test_no_two_mutants_share_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 64


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: mutant.name)
def test_the_wrong_gradient_is_off_and_no_other(mutant: Mutant) -> None:
    op, key = mutant.op, jax.random.key(0)
    found = comparisons(mutant.wrong, op.draw(key), reference=op.plain, order=mutant.order, directions=0, key=key)
    off = {(c.kind, c.order, c.argument) for c in found if not c.passed}
    assert off == {(Kind.GRADIENT, mutant.order, mutant.where)}


@pytest.mark.parametrize("op", RIGHT, ids=lambda op: op.name)
def test_its_right_twin_passes(op: Op) -> None:
    key = jax.random.key(0)
    check_vjp(op.ours, op.draw(key), reference=op.plain, directions=0 if op.at_ties else None, key=key)
