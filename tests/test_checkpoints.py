"""Checkpoints: what is saved comes back to the bit, what is damaged is passed over, what cannot be written is said."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import train
from jaxcnn.checkpoints import CheckpointError, Checkpoints
from jaxcnn.nets import single_filter

pytestmark = pytest.mark.filterwarnings("default")  # Orbax's own, about what it finds damaged


def state_at(step: int, seed: int = 0) -> train.TrainState:
    optimizer = optax.adam(0.01)
    state = train.init_state(single_filter.init(jax.random.key(seed)), optimizer, jax.random.key(seed + 1))
    return state._replace(step=jnp.int32(step))


def save(folder: Path, *steps: int) -> None:
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            checkpoints.save(state_at(step), train.Totals.zero(), {"number": step})


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip_a_bit(folder: Path) -> None:
    path = largest_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate_the_largest(folder: Path) -> None:
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_every_file(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def lose_the_arrays(folder: Path) -> None:
    largest_file(folder).unlink()


DAMAGES = [flip_a_bit, truncate_the_largest, empty_every_file, lose_the_arrays]


def test_what_is_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    state = state_at(7, seed=3)
    totals = train.Totals(jnp.float32(1.5), jnp.float32(2.5), jnp.int32(-1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, totals, {"seconds": 1.25, "settings": {"clip": None}})
    with Checkpoints(tmp_path) as checkpoints:
        found, complaints = checkpoints.newest(state_at(0))
    assert found is not None and complaints == []
    assert (found.step, found.note) == (7, {"seconds": 1.25, "settings": {"clip": None}})
    jax.tree.map(lambda left, right: None, found.state, state)  # raises where the trees are not alike
    for left, right in zip(*map(jax.tree.leaves, ((found.state, found.totals), (state, totals))), strict=True):
        if jnp.issubdtype(right.dtype, jax.dtypes.prng_key):
            left, right = jax.random.key_data(left), jax.random.key_data(right)
        assert left.dtype == right.dtype and np.asarray(left).tobytes() == np.asarray(right).tobytes()


def test_what_happens_to_the_state_afterwards_is_not_saved(tmp_path: Path) -> None:
    """The next step takes the state's buffers while the checkpoint is being written."""
    state = state_at(1)
    before = np.array(state.params["w"])
    overwrite = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state.params), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, train.Totals.zero(), {})
        overwrite(state)
        checkpoints.wait()
        found, _ = checkpoints.newest(state_at(0))
    assert found is not None
    np.testing.assert_array_equal(found.state.params["w"], before)


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    scores = {1: 0.5, 2: 0.9, 3: 0.1, 4: None, 5: None, 6: 0.2, 7: None}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(state_at(step), train.Totals.zero(), {}, score=score)
        checkpoints.wait()
        assert checkpoints.steps == [2, 6, 7]
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.best(state_at(0)).step == 2
        checkpoints.save(state_at(8), train.Totals.zero(), {})
        checkpoints.wait()
        assert checkpoints.steps == [2, 8]


def test_no_checkpoint_is_no_complaint(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest(state_at(0)) == (None, [])
        with pytest.raises(CheckpointError, match="has no checkpoint with a score"):
            checkpoints.best(state_at(0))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_reported_and_the_one_before_it_used(tmp_path: Path, damage: object) -> None:
    save(tmp_path, 5, 10)
    assert callable(damage)
    damage(tmp_path / "checkpoints" / "10")
    with Checkpoints(tmp_path) as checkpoints:
        found, complaints = checkpoints.newest(state_at(0))
        assert found is not None and found.step == 5
        (complaint,) = complaints
        assert complaint.startswith("checkpoint 10 cannot be read (") and "checkpoint 5 is used" in complaint
        assert "\n" not in complaint
        checkpoints.save(state_at(10), train.Totals.zero(), {"number": 11})  # its step is free again
        checkpoints.wait()
        again, complaints = checkpoints.newest(state_at(0))
        assert again is not None and (again.step, again.note, complaints) == (10, {"number": 11}, [])
    assert (tmp_path / "checkpoints" / "damaged-10").is_dir()


def test_where_all_are_damaged_nothing_is_moved_and_it_is_said(tmp_path: Path) -> None:
    save(tmp_path, 5, 10)
    for step in ("5", "10"):
        flip_a_bit(tmp_path / "checkpoints" / step)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match=r"^no checkpoint in .* can be read: ValueError: its digest differs"):
            checkpoints.newest(state_at(0))
        assert checkpoints.steps == [5, 10]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(CheckpointError, match="checkpoints cannot be used for checkpoints: FileExistsError"):
        save(tmp_path, 1)
