"""docs/your-model.md: every block of it runs as it stands, accelerates something and prints what the page shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import pytest

import jaxcnn

PAGE = (Path(__file__).parents[1] / "docs" / "your-model.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCKS = {
    title: block for title, text in SECTIONS.items() for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
}
FRAMEWORKS = ("flax", "equinox", "haiku", "keras")
ACCELERATED = ("A training loop in plain jax", "Flax linen", "Flax nnx", "Equinox", "Haiku", "Keras")


@pytest.fixture
def as_a_user_has_it(monkeypatch: pytest.MonkeyPatch) -> Any:
    """float32 and jax's own promotion of dtypes, which the tests of the ops are stricter about."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def names_after(title: str) -> dict[str, Any]:
    """What the section's block leaves, where the packages that it imports are installed."""
    for package in FRAMEWORKS:
        if re.search(rf"^(import|from) {package}", BLOCKS[title], re.MULTILINE):
            pytest.importorskip(package)
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[title], "net.py", "exec"), names)
    return names


@pytest.mark.usefixtures("as_a_user_has_it")
@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=[pytest.mark.long] * (title in ACCELERATED[1:])) for title in BLOCKS]
)
def test_each_block_runs_as_it_stands(title: str) -> None:
    found = [
        value for name, value in names_after(title).items() if name in ("value", "gradients", "gradient", "logits", "y")
    ]
    assert found or title.startswith("What it did")
    assert all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))


@pytest.mark.long
@pytest.mark.usefixtures("as_a_user_has_it")
@pytest.mark.parametrize("title", ACCELERATED)
def test_what_a_block_accelerates_is_replaced(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each framework the convolution and the pool are replaced, and nothing is left."""
    traced = []
    own = jaxcnn.accelerate

    def accelerate(f: Any, **options: Any) -> Any:
        def first(*args: Any, **kwargs: Any) -> Any:
            traced.append(jaxcnn.sites(f, *args, **kwargs))
            return own(f, **options)(*args, **kwargs)

        return first

    monkeypatch.setattr(jaxcnn, "accelerate", accelerate)
    names_after(title)
    assert traced and all(found.replaced and not found.left for found in traced)


@pytest.mark.usefixtures("as_a_user_has_it")
def test_the_table_of_sites_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    title = next(name for name in BLOCKS if name.startswith("What it did"))
    names_after(title)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    if jax.default_backend() == "cpu":
        assert capsys.readouterr().out == shown


def test_every_framework_has_its_section() -> None:
    assert set(ACCELERATED) < set(BLOCKS) and len(BLOCKS) == len(ACCELERATED) + 3
