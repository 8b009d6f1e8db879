"""Settings of every test: float64 at hand, products in full precision, and jaxcnn's annotations checked as it runs.

The type checker answers before an op's own `ValueError` can; `JAXCNN_NO_TYPECHECK=1` leaves it out. `jaxcnn.check` has
no shapes to annotate, and answers for itself.
"""

import os
from collections.abc import Iterator

import jax
import pytest
from jaxtyping import install_import_hook

if os.environ.get("JAXCNN_NO_TYPECHECK") != "1":
    install_import_hook([f"jaxcnn.{part}" for part in ("ops", "nets", "cost", "train")], "beartype.beartype")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)  # for the tests of sharding; unlike XLA_FLAGS, no subprocess inherits it
jax.config.update("jax_default_matmul_precision", "highest")

# The later of the two ways in which XLA 0.10 emits loops takes three times as long to compile a small program.
# What is compiled as in use is in processes of their own, which no flag of this one reaches: training, predicting,
# and every op and network by `jaxcnn check` (test_cli_check).
if jax.__version_info__ < (0, 11):  # XLA ends the process over a flag that it no longer has
    flags = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{flags or ''} --xla_cpu_use_fusion_emitters=false"
    jax.devices()  # reads them
    if flags is None:
        del os.environ["XLA_FLAGS"]
    else:
        os.environ["XLA_FLAGS"] = flags


RUNS_SMALL_PROGRAMS_ONCE = {
    "accelerate",
    "ops",
    "nets",
    *(
        f"test_{name}.py"
        for name in ("check", "plots", "mutants", "papers", "reference", "report", "runs", "train", "train_mesh")
    ),
}


@pytest.fixture(autouse=True)
def promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """The ops and networks compute under the strictest settings that their users set: nothing is promoted unsaid."""
    if request.path.parent.name not in {"ops", "nets"}:
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def optimized() -> None:
    """Asks for programs compiled as in use."""


@pytest.fixture(autouse=True)
def compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Most of a test's time is compiling: by XLA's cheap passes alone where a program is small and runs once."""
    is_small = not RUNS_SMALL_PROGRAMS_ONCE.isdisjoint({request.path.parent.name, request.path.name})
    is_quick = is_small and "optimized" not in request.fixturenames
    jax.config.update("jax_disable_most_optimizations", is_quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
