"""The package: what importing it loads and costs, which way its imports point, and that its versions agree."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import jaxcnn
from jaxcnn.session._settings import DEFAULTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxcnn"
CORE = ("ops", "reference", "check", "nets", "train", "cost", "examples")
LOADED_ON_USE = ("check", "cost", "data", "session", "train")
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Loading


def python(code: str) -> str:
    """What a fresh interpreter prints, started where the package can be found."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_is_quick_and_loads_nothing_heavy() -> None:
    """The quickest of several, for other work on the machine only ever adds to it."""
    code = """if True:
        import json, sys, time
        import jax
        start = time.perf_counter()
        from jaxcnn import nets, ops, reference
        seconds = time.perf_counter() - start
        heavy = ["optax", "matplotlib", "tensorflow_datasets", "tensorflow", "typer", "rich", "PIL", "requests"]
        loaded = [name for name in heavy if name in sys.modules]
        print(json.dumps([seconds, loaded, sorted(dir(sys.modules["jaxcnn"]))]))
    """
    runs = [json.loads(python(code)) for _ in range(3)]
    assert runs[0][1] == []
    assert {"ops", "reference", "nets", *LOADED_ON_USE} <= set(runs[0][2])
    assert min(seconds for seconds, _, _ in runs) < 0.3


def test_the_command_answers_signals_before_it_loads_anything() -> None:
    """`jaxcnn.cli.main` is all that the console script loads first."""
    code = "import sys; before = {*sys.modules}; import jaxcnn.cli; print(*sorted({*sys.modules} - before))"
    loaded = set(python(code).split())
    assert {name for name in loaded if name.startswith("jaxcnn")} == {
        "jaxcnn",
        "jaxcnn._whole",
        "jaxcnn.cli",
        "jaxcnn.cli._interrupt",
    }
    assert {name.partition(".")[0] for name in loaded} <= sys.stdlib_module_names | {"jaxcnn"}


def test_the_command_imports_within_functions_only_what_help_need_not_wait_for() -> None:
    late = {
        (path.stem, name)
        for path in SOURCES
        if part_of(path) == "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        for name in imports_of(node)
    }
    assert late == {
        ("__init__", "jaxcnn.cli._app"),
        ("_processes", "jax"),
        ("bench", "jax"),
        ("check", "jaxcnn.cli._check_row.row_of"),
    }


def test_the_rest_loads_on_use() -> None:
    for name in LOADED_ON_USE:
        assert getattr(jaxcnn, name) is importlib.import_module(f"jaxcnn.{name}")
    with pytest.raises(AttributeError, match="module 'jaxcnn' has no attribute 'trian'"):
        _ = jaxcnn.trian


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("bench.BenchError", RuntimeError),
        ("checkpoints.CheckpointError", RuntimeError),
        ("data.DataError", RuntimeError),
        ("photos.PictureError", ValueError),
        ("runs.RunError", RuntimeError),
        ("session.SessionError", ValueError),
        ("session.TrainingError", RuntimeError),
        ("train.NotFiniteError", ArithmeticError),
    ],
)
def test_what_a_user_can_mend_has_one_base(error: str, builtin: type[Exception]) -> None:
    part, _, name = error.partition(".")
    of_ours = getattr(importlib.import_module(f"jaxcnn.{part}"), name)
    assert issubclass(of_ours, jaxcnn.JaxcnnError) and issubclass(of_ours, builtin)
    assert error in (jaxcnn.JaxcnnError.__doc__ or "")


def test_no_error_is_without_that_base() -> None:
    """Whatever error a file of the package defines, the command's own aside."""
    defined = [
        (path, node)
        for path in SOURCES
        if part_of(path) not in ("cli", "__init__")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    ]
    assert defined
    for path, node in defined:
        assert ast.unparse(node.bases[0]).endswith("JaxcnnError"), path


def test_the_core_needs_four_packages() -> None:
    """Every other distribution of this environment is refused, but for what the four themselves require."""
    needed = _required_by("jax", "jaxlib", "numpy", "optax", "jaxtyping")
    refused = [
        name
        for name, distributions in metadata.packages_distributions().items()
        if not needed & {_canonical(distribution) for distribution in distributions} and name != "jaxcnn"
    ]
    assert {"typer", "rich", "matplotlib", "tensorflow_datasets"} <= set(refused)
    code = f"""if True:
        import importlib, importlib.abc, sys
        refused = set({refused!r}) - set(sys.modules)

        class Refuse(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in refused:
                    raise ModuleNotFoundError("refused: " + name)

        sys.meta_path.insert(0, Refuse())
        for name in {CORE!r}:
            print(importlib.import_module("jaxcnn." + name).__name__)
    """
    assert python(code).split() == [f"jaxcnn.{name}" for name in CORE]


# The direction of imports


def imports_of(code: Path | ast.AST) -> Iterator[str]:
    """The full name of everything that a file, or a part of one, imports, at the top or within a function."""
    for node in ast.walk(ast.parse(code.read_text()) if isinstance(code, Path) else code):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{code}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes_of(path: Path) -> Iterator[str]:
    """Every dotted name that a file reads, such as jax.lax.add."""
    for node in ast.walk(ast.parse(path.read_text())):
        parts: list[str] = []
        inner: ast.expr | None = node if isinstance(node, ast.Attribute) else None
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield ".".join([inner.id, *reversed(parts)])


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to: ops, nets, train, ..."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SHARED = {"JaxcnnError", "_names", "_whole"}  # what every part may import
ALLOWED = {
    "_accelerate": {"_accelerate", "ops"},
    "ops": {"ops"},
    "reference": {"ops"},
    "bench": {"_contract", "bench", "check", "nets", "ops", "reference", "train"},
    "check": {"check"},
    "examples": {"check", "nets", "ops", "reference"},
    "nets": {"ops", "nets"},
    "_contract": {"ops"},
    "cost": {"_contract", "ops"},
    "train": {"_contract", "ops", "reference", "train"},
    "data": {"data"},
    "session": {
        "_contract",
        "_progress",
        "checkpoints",
        "data",
        "nets",
        "ops",
        "plots",
        "provenance",
        "reference",
        "runs",
        "session",
        "tensorboard",
        "train",
    },
}


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_one_way(part: str) -> None:
    files = [path for path in SOURCES if part_of(path) == part]
    assert files
    for path in files:
        ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("jaxcnn.")}
        allowed = ALLOWED[part] | SHARED
        assert ours <= allowed, f"{path.relative_to(ROOT)} imports {sorted(ours - allowed)}"


def test_only_the_command_imports_the_command() -> None:
    importing = {part_of(path) for path in SOURCES if any(name.startswith("jaxcnn.cli") for name in imports_of(path))}
    assert importing == {"cli", "__main__"}


def test_only_train_imports_optax() -> None:
    assert {part_of(path) for path in SOURCES if _imports(path, "optax")} == {"train"}


@pytest.mark.parametrize("part", CORE)
def test_the_core_imports_nothing_else(part: str) -> None:
    allowed = {"jax", "numpy", "jaxtyping", "jaxcnn", *({"optax"} if part == "train" else ())}
    for path in SOURCES:
        if part_of(path) == part:
            roots = {name.partition(".")[0] for name in imports_of(path)} - sys.stdlib_module_names
            assert roots <= allowed, f"{path.relative_to(ROOT)} imports {sorted(roots - allowed)}"


READ_PROGRAMS = ("jax.extend.core", "jax.extend.linear_util", "jax.extend.source_info_util")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_public_names_of_jax(path: Path) -> None:
    names = [name for name in (*imports_of(path), *attributes_of(path)) if name.split(".")[0] in ("jax", "jnp", "lax")]
    private = [name for name in names if any(part.startswith("_") for part in name.split(".")) and "__" not in name]
    internal = [name for name in names if name.startswith(("jax.interpreters", "jax.extend", "jax.lib"))]
    if part_of(path) == "_accelerate":  # which reads programs, by what jax offers for it
        internal = [name for name in internal if not name.startswith(READ_PROGRAMS)]
    assert private + internal == []


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda path: path.stem)
def test_experiments_use_public_names_of_ours(path: Path) -> None:
    imported = [name for name in imports_of(path) if name.split(".")[0] == "jaxcnn"]
    ours = {name.rpartition(".")[2] for name in imported}
    read = [name for name in attributes_of(path) if name.split(".")[0] in ours]
    names = [name for name in (*imported, *read) if re.search(r"(^|\.)_(?!_)", name)]
    assert names == []


# What is stated twice


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == jaxcnn.__version__
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[:1] in ([], [jaxcnn.__version__])  # its latest; none where all is unreleased
    cited = re.findall(r'^version: "?([^"\s]+)', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == [jaxcnn.__version__]


def test_every_network_is_known_by_name_and_has_its_defaults() -> None:
    files = {path.stem for path in (PACKAGE / "nets").glob("*.py")} - {"__init__"}
    assert {*jaxcnn.nets.NETS} == files == {*DEFAULTS}
    assert all(net.__name__ == f"jaxcnn.nets.{name}" for name, net in jaxcnn.nets.NETS.items())


def test_the_packages_types_are_for_others_too() -> None:
    """Those of the parts that load on use as well."""
    assert (PACKAGE / "py.typed").is_file()
    declared = {name.rpartition(".")[2] for name in imports_of(PACKAGE / "__init__.py") if name.startswith("jaxcnn.")}
    assert {*jaxcnn._LOADED_ON_USE, *jaxcnn._FUNCTIONS} == declared


def _imports(path: Path, root: str) -> bool:
    return any(name.partition(".")[0] == root for name in imports_of(path))


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _required_by(*names: str) -> set[str]:
    """These distributions and all that they require, without extras."""
    found: set[str] = set()
    waiting = [_canonical(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(_canonical(requirement.name))
    return found
