"""What the documents say of the code must be there."""

from __future__ import annotations

import ast
import importlib
import re
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from experiments.gradients.mutants import MUTANTS
from jaxcnn import ops, reference
from jaxcnn.ops._conv._algorithms import ALGORITHMS

ROOT = Path(__file__).parents[1]
PAPERS = (ROOT / "docs" / "papers.md").read_text()
README = (ROOT / "README.md").read_text()


def numbers(paper: str) -> set[int]:
    """The equation numbers that the tables name for one paper."""
    found: set[int] = set()
    for group in re.findall(rf"\[{paper} ([\d, -]+)\]", PAPERS):
        for part in group.split(","):
            first, _, last = part.strip().partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    return found


def test_every_equation_of_both_papers_has_its_row() -> None:
    assert numbers("V") == set(range(1, 40))
    assert numbers("R") == set(range(1, 11))


def test_every_section_of_roysdon_has_its_row() -> None:
    first_cells = "".join(re.findall(r"^\| \[R\] ([^|]*)\|", PAPERS, re.MULTILINE))
    assert {int(n) for n in re.findall(r"1\.(\d+)", first_cells)} == {2, 3, 4, 5, 6, 7, 8, 9, 10}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\| `([a-z_.]+)` \|", PAPERS))))
def test_named_functions_exist(name: str) -> None:
    module, _, function = name.rpartition(".")
    assert callable(getattr(importlib.import_module(f"jaxcnn.{module}"), function))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAPERS))))
def test_named_tests_exist(name: str) -> None:
    path, function = name.split("::")
    assert re.search(rf"^ *def {function}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE)


def test_the_readme_lists_every_op_and_its_file() -> None:
    listed: dict[str, str] = {}
    for names, path in re.findall(r"^\| (`.*?`) \| `(_[\w/]+\.py)` \|", README, re.MULTILINE):
        listed |= dict.fromkeys(re.findall(r"`(\w+)`", names), path)
    assert set(listed) == set(reference.__all__)
    for path in listed.values():
        assert (Path(jaxcnn.__file__).parent / "ops" / path).is_file()


PAGES = [page for folder in (".", "docs", "experiments/*") for page in ROOT.glob(f"{folder}/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert page.parent.joinpath(target).exists(), target


def test_versions_agree() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'version = "{jaxcnn.__version__}"' in pyproject
    assert f"version: {jaxcnn.__version__}" in citation


def test_the_checkers_page_runs_as_written() -> None:
    """Its last block of code must fail, and in the words that follow it."""
    page = (ROOT / "docs" / "check.md").read_text()
    *right, wrong = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    for block in right:
        exec(block, names)
    with pytest.raises(AssertionError) as raised:
        exec(wrong, names)
    printed = page.split("AssertionError: ")[1].split("\n\n")[0]
    assert " ".join(printed.split()) == " ".join(str(raised.value).split())


def test_the_reproduction_of_jaxs_fault_with_mapped_numpy_arrays() -> None:
    """And the way round that the page gives."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "numpy.md").read_text(), re.DOTALL)
    with pytest.raises(AssertionError, match="non-canonical constant of type ndarray"):
        exec(block, {})
    exec(block.replace("np.ones", "jax.numpy.ones"), {})


def test_the_page_of_transposed_convolutions_runs_as_written() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "conv_transpose.md").read_text(), re.DOTALL)
    exec(block, {})


def test_the_readmes_algorithms_run() -> None:
    """Its table has every algorithm with the maps that it has, and its example is computed."""
    named = {
        name: columns.split(" | ")[0]
        for names, columns in re.findall(r'^\| (`".*?"`) \| (.*) \|$', README, re.MULTILINE)
        for name in re.findall(r'"(\w+)"', names)
    }
    has = {name: list(algorithm.maps) for name, algorithm in ALGORITHMS.items()}
    assert named == {
        name: "all" if len(maps) == 3 else ", ".join(f"`{which}`" for which in maps) for name, maps in has.items()
    }
    line = re.search(r"a mapping from maps to names, as `(\{.*?\})`", README, re.DOTALL)
    assert line is not None
    algorithms = ast.literal_eval(line[1])
    x, kernel = jnp.ones((2, 6, 6, 2)), jnp.ones((3, 3, 2, 4))

    def loss(module: ModuleType, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return module.conv(x, kernel, stride=2, algorithm=algorithms).sum()

    ours, plain = (jax.grad(partial(loss, module), (0, 1))(x, kernel) for module in (ops, reference))
    for gradient, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_the_mutants_are_counted() -> None:
    """Where the README tells how many wrong rules were planted, and in the table of the study."""
    study = (ROOT / "experiments" / "gradients" / "README.md").read_text()
    assert re.search(rf"caught all of {len(MUTANTS)}\s+planted wrong rules", README)
    assert re.search(rf"^\| all \| {len(MUTANTS)} \|", study, re.MULTILINE)


def test_the_papers_can_be_found() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    for page in (README, PAPERS, citation):
        for words in (
            "Roshan Virdee|family-names: Virdee",
            "Mathematical Overview of My Convolutional Neural Network (CNN)",
        ):
            assert any(word in page for word in words.split("|"))
        assert "Convolutional Neural Network - Derivations & Proofs" in page
        assert "pfroysdon/publications/blob/main/Math_Derivations/convolutional_neural_network.pdf" in page
