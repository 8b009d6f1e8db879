"""Planted wrong rules of the mutation study are caught, and nothing else is: their right twins pass.

A fixed sample at one point each; `experiments/gradients` tries all of them at many.
"""

from __future__ import annotations

import re

import jax
import pytest

from experiments.gradients.mutants import IN_USE_MUTANTS, MUTANTS, OPS, Mutant, Op
from jaxcnn import reference
from jaxcnn.check import check_vjp, comparisons

TAKES_TEN_SECONDS_TO_COMPILE = "300 ties"
SAMPLE = [
    mutant
    for number, mutant in enumerate(MUTANTS)
    if TAKES_TEN_SECONDS_TO_COMPILE not in mutant.name
    and (number % 6 == 0 or mutant in IN_USE_MUTANTS or mutant.op.function != MUTANTS[number - 1].op.function)
]
IN_USE = [mutant.op for mutant in IN_USE_MUTANTS if TAKES_TEN_SECONDS_TO_COMPILE not in mutant.name]
RIGHT = tuple(dict.fromkeys([*OPS[::4], *IN_USE]))
WITHOUT_A_RULE_OF_ITS_OWN = {"conv_general_dilated", "flatten", "one_hot_prediction"}


def test_every_op_with_a_rule_has_mutants() -> None:
    assert {mutant.op.function for mutant in SAMPLE} == set(reference.__all__) - WITHOUT_A_RULE_OF_ITS_OWN


def test_no_two_mutants_share_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 64


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: mutant.name)
def test_the_wrong_gradient_is_off_and_no_other(mutant: Mutant) -> None:
    op, key = mutant.op, jax.random.key(0)
    found = comparisons(mutant.wrong, op.draw(key), reference=op.plain, order=mutant.order, directions=0, key=key)
    off = [re.sub(" of a (large opposite|tiny) cotangent in", " of", c.what) for c in found if not c.passed]
    assert {*off} == {mutant.what}


@pytest.mark.parametrize("op", RIGHT, ids=lambda op: op.name)
def test_its_right_twin_passes(op: Op) -> None:
    key = jax.random.key(0)
    check_vjp(op.ours, op.draw(key), reference=op.plain, directions=0 if op.at_ties else None, key=key)
