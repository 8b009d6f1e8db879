"""Networks of the user's own: trained, resumed, read and exported by their place, and never imported unasked."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jaxcnn
from jaxcnn import data, nets, runs, session
from tests import command

SOURCE = """
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxcnn import ops

Path("was_imported").touch()


def init(key, *, classes=10, scales={"first": [1.0, 2.0]}):
    return {"kernel": scales["first"][1] * 0.01 * jax.random.normal(key, (784, classes), "float32")}


def init_state():
    return {"steps": jnp.zeros((), "int32")}


def apply(params, x, *, ops=ops, state=(), key=None, train=False):
    state = {"steps": state["steps"] + 1} if train else state
    return ops.dense(ops.flatten(x), params["kernel"]), state


class Small:
    init = staticmethod(init)
    init_state = staticmethod(init_state)
    apply = staticmethod(apply)


class Wide:
    init = staticmethod(lambda key: {"kernel": jnp.zeros((784, 7), "float32")})
    apply = staticmethod(lambda params, x, *, ops=ops, state=(), key=None, train=False:
                         (ops.dense(ops.flatten(x), params["kernel"]), state))


class Silent:
    init = staticmethod(lambda key: {})
    apply = staticmethod(lambda params, x: x)


class Odd:
    init = staticmethod(lambda key, *, scale=1j: {})
    apply = staticmethod(apply)
"""
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 500}


@pytest.fixture
def my_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "my_net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    return importlib.import_module("my_net")


@pytest.mark.long
def test_the_command_trains_resumes_and_reads_it(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(SOURCE)
    mark = tmp_path / "was_imported"
    command.run("train", "--net", "my_net:Small", "--epochs", "1", "--batch-size", "500", cwd=tmp_path)
    folder = tmp_path / "runs" / "my_net.Small-mnist-10k-1"
    net = runs.read_config(folder)["net"]
    assert net == {"name": "my_net:Small", "options": {"classes": 10, "scales": {"first": [1.0, 2.0]}}}
    command.run("train", "--resume", folder, "--net", "my_net:Small", "--epochs", "2", cwd=tmp_path)
    Image.fromarray(data.load().test.images[0, :, :, 0]).save(tmp_path / "digit.png")
    for line in ("predict {} digit.png", "report {}", "export {}"):
        arguments = line.format(folder).split()
        mark.unlink(missing_ok=True)
        refusal = command.run(*arguments, cwd=tmp_path, code=2)
        assert "net 'my_net:Small' is of your own, and my_net is not imported: import it first" in refusal
        assert not mark.exists()
        command.run(*arguments, "--import", "my_net", cwd=tmp_path)
        assert mark.exists()
    refusal = command.run("train", "--resume", folder, "--epochs", "3", cwd=tmp_path, code=2)
    assert "and jaxcnn train by --net my_net:Small" in refusal
    assert "cannot be imported (ModuleNotFoundError" in command.run(
        "report", folder, "--import", "no_such_module", cwd=tmp_path, code=2
    )


@pytest.mark.long
def test_a_module_a_class_and_a_place_are_the_same(my_net: ModuleType, tmp_path: Path) -> None:
    trained = [
        session.train(net, **SHORT, out=f"run{n}") for n, net in enumerate((my_net, my_net.Small, "my_net:Small"))
    ]
    assert [run.network.name for run in trained] == ["my_net:", "my_net:Small", "my_net:Small"]
    first, *others = (jax.tree.leaves((run.params, run.net_state)) for run in trained)
    for leaves in others:
        assert [leaf.tobytes() for leaf in leaves] == [leaf.tobytes() for leaf in first]
    read = runs.read("run0")
    assert int(read.net_state["steps"]) == 32
    resumed = session.train(resume="run0", epochs=3)
    assert int(resumed.net_state["steps"]) == 48
    image = np.zeros((1, 28, 28, 1), "uint8")
    assert jaxcnn.predict.probabilities(read, image).shape == (1, 10)


def test_ours_by_their_modules() -> None:
    with pytest.raises(session.SessionError, match="`batch_size` must be at most"):
        session.train(nets.lenet, batch_size=9000)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("my_net:Wide", r"must make logits \(2, 10\) of images \(2, 28, 28, 1\), got \(2, 7\)"),
        ("my_net:Silent", "cannot be applied to images .*apply must take"),
        ("my_net:Odd", "its option scale is no JSON"),
        ("my_net:nothing", "net 'my_net:nothing' is no network"),
        ("my_net:Path", "net 'my_net:Path' is no network"),
        ("no_such_module:net", "no_such_module cannot be imported"),
        (":net", "cannot be imported"),
        (SimpleNamespace(init=print, apply=print), "`net` must be a name, a module, a class or a place"),
    ],
)
def test_what_is_no_network_is_refused(my_net: ModuleType, net: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(session.SessionError, match=message):
        session.train(net, out="run")
    assert not (tmp_path / "run").exists()


def test_a_folder_never_makes_anything_be_imported(my_net: ModuleType, tmp_path: Path) -> None:
    """Whatever its config.json names."""
    session.train(my_net.Small, epochs=1, batch_size=500, out="run")
    (tmp_path / "harm.py").write_text("raise SystemExit('imported')")
    config = json.loads(Path("run/config.json").read_text())
    for name in ("harm:net", "harm:", "os:system", "os.path:join", ":", "jaxcnn.nets:NETS", "my_net:Small.init"):
        runs.write_config(Path("run"), config | {"net": config["net"] | {"name": name}})
        with pytest.raises(runs.RunError, match="names no network known here"):
            runs.read("run")
    assert "harm" not in sys.modules
