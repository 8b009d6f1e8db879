"""Sites are found wherever they are, and values and gradients stay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P
from programs import (
    assert_accelerates,
    assert_alike,
    conv,
    max_pool,
    net,
    plain_equations,
    point,
)

import jaxcnn

REPLACED: dict[str, tuple[Callable[..., Any], int]] = {
    "plain": (net, 2),
    "jit": (jax.jit(net), 2),
    "jit in jit": (jax.jit(lambda kernel, x: jax.jit(net)(kernel, x) + 1), 2),
    "scan": (lambda kernel, x: lax.scan(lambda x, _: (conv(x, kernel), x.sum()), x, length=3), 1),
    "scan over kernels": (
        lambda kernel, x: lax.scan(lambda x, k: (jnp.tanh(conv(x, k)), None), x, jnp.stack([kernel] * 2))[0],
        1,
    ),
    "fori_loop": (lambda kernel, x: lax.fori_loop(0, 2, lambda i, x: conv(x, kernel), x), 1),
    "cond": (lambda kernel, x: lax.cond(x.sum() > 0, conv, lambda x, k: conv(x, k) * 2, x, kernel), 2),
    "switch": (lambda kernel, x: lax.switch(jnp.argmax(x[0, 0, 0]), [conv, lambda x, k: x], x, kernel), 1),
    "checkpoint": (jax.checkpoint(net), 2),
    "checkpoint in scan": (
        lambda kernel, x: lax.scan(lambda x, _: (jax.checkpoint(conv)(x, kernel), None), x, length=2)[0],
        1,
    ),
    "vmap": (lambda kernel, x: jax.vmap(net, (None, 0))(kernel, x[None]), 2),
    "vmap of kernels": (lambda kernel, x: jax.vmap(net, (0, None))(jnp.stack([kernel] * 2), x), 2),
}


@pytest.mark.parametrize("name", REPLACED)
def test_values_and_gradients_stay(name: str) -> None:
    f, replaced = REPLACED[name]
    assert_accelerates(f, *point(), replaced=replaced)


def test_while_loops() -> None:
    kernel, x = point()

    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return lax.while_loop(lambda carry: carry[0] < 3, lambda carry: (carry[0] + 1, conv(carry[1], kernel)), (0, x))[
            1
        ]

    assert len(jaxcnn.sites(f, kernel, x).replaced) == 1
    assert_alike(jaxcnn.accelerate(f)(kernel, x), f(kernel, x))
    assert plain_equations(jaxcnn.accelerate(f), kernel, x) == []


def test_a_condition_of_a_while_loop() -> None:
    kernel, x = point()

    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return lax.while_loop(lambda x: conv(x, kernel).max() < 100, lambda x: x * 2, x)

    assert len(jaxcnn.sites(f, kernel, x).replaced) == 1
    assert_alike(jaxcnn.accelerate(f)(kernel, x), f(kernel, x))


def test_a_policy_is_kept() -> None:
    kernel, x = point()
    policy = jax.checkpoint_policies.save_only_these_names("pooled")

    @partial(jax.checkpoint, policy=policy)
    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(conv(jnp.sin(checkpoint_name(conv(x, kernel), "pooled")), kernel))

    def policies(f: Callable[..., Any]) -> list[Any]:
        eqns = jax.make_jaxpr(f)(kernel, x).jaxpr.eqns
        return [eqn.params["policy"] for eqn in eqns if "policy" in eqn.params]

    assert policies(jaxcnn.accelerate(f)) == [policy]
    assert_accelerates(f, kernel, x, replaced=2)


def test_custom_jvp_keeps_its_rule() -> None:
    @jax.custom_jvp
    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return conv(x, kernel)

    @f.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (kernel, x), (dk, dx) = primals, tangents
        return conv(x, kernel), 3 * conv(x, dk) + 5 * conv(dx, kernel)

    kernel, x = point()
    assert_accelerates(f, kernel, x, replaced=1)
    assert list(jaxcnn.sites(f, kernel, x)[0].runs or ()) == ["correlate"]
    of_plain = jax.grad(lambda k: conv(x, k).sum())(kernel)
    assert_alike(jax.grad(lambda k: jaxcnn.accelerate(f)(k, x).sum())(kernel), 3 * of_plain)


def test_the_forward_of_a_custom_vjp_is_replaced_and_its_rule_kept() -> None:
    @jax.custom_vjp
    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return conv(x, kernel)

    f.defvjp(lambda kernel, x: (conv(x, kernel), x), lambda x, dy: (jnp.full((3, 3, 2, 2), 7.0), dy))
    kernel, x = point()
    assert_accelerates(f, kernel, x, replaced=1)
    by_hand = jax.value_and_grad(lambda kernel: jaxcnn.accelerate(f)(kernel, x).sum())
    assert plain_equations(by_hand, kernel) == []
    assert plain_equations(jax.value_and_grad(lambda kernel: f(kernel, x).sum()), kernel) == ["conv_general_dilated"]


@pytest.mark.parametrize("check_vma", [False, True])
def test_shard_map(check_vma: bool) -> None:
    mesh = jax.make_mesh((2,), ("i",), devices=jax.devices()[:2], axis_types=(jax.sharding.AxisType.Auto,))

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("i")), out_specs=P(), check_vma=check_vma)
    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return lax.psum(net(kernel, x), "i")

    assert_accelerates(f, *point(), replaced=2)


def test_inside_shard_map() -> None:
    mesh = jax.make_mesh((2,), ("i",), devices=jax.devices()[:2], axis_types=(jax.sharding.AxisType.Auto,))
    kernel, x = point()

    def mapped(f: Callable[..., Any]) -> Callable[..., Any]:
        return jax.shard_map(f, mesh=mesh, in_specs=(P(), P("i")), out_specs=P())

    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return lax.pmean(net(kernel, x), "i")

    assert_alike(mapped(jaxcnn.accelerate(f))(kernel, x), mapped(f)(kernel, x))


def test_on_an_explicit_mesh() -> None:
    types = (jax.sharding.AxisType.Explicit,) * 2
    mesh = jax.make_mesh((2, 1), ("i", "j"), devices=jax.devices()[:2], axis_types=types)
    with jax.set_mesh(mesh):
        kernel, x = point()
        kernel = jax.device_put(kernel, jax.NamedSharding(mesh, P()))
        x = jax.device_put(x, jax.NamedSharding(mesh, P("i")))
        assert_alike(jaxcnn.accelerate(net)(kernel, x), net(kernel, x))
        gradients = [
            jax.jit(jax.grad(lambda kernel, x, f=f: jnp.sin(f(kernel, x)).sum(), (0, 1)))(kernel, x)
            for f in (jaxcnn.accelerate(net), net)
        ]
        assert_alike(*gradients)


def test_vmap_with_a_name() -> None:
    kernel, x = point()

    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return net(kernel, x) - lax.pmean(x, "i").sum()

    def mapped(f: Callable[..., Any]) -> jax.Array:
        return jax.vmap(f, (None, 0), axis_name="i")(kernel, jnp.stack([x, 2 * x]))

    assert_alike(mapped(jaxcnn.accelerate(f)), mapped(f))


def test_transformations_on_either_side() -> None:
    kernel, x = point()

    def loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(net(kernel, x)))

    expected = jax.grad(loss)(kernel, x)
    assert_alike(jax.grad(jaxcnn.accelerate(loss))(kernel, x), expected)
    assert_alike(jaxcnn.accelerate(jax.grad(loss))(kernel, x), expected)
    assert_alike(jaxcnn.accelerate(jax.jit(jax.grad(loss)))(kernel, x), expected)
    assert_alike(jax.jit(jax.grad(jaxcnn.accelerate(jax.jit(loss))))(kernel, x), expected)
    batch = jnp.stack([x, x + 1])
    expected = jax.vmap(jax.grad(loss), (None, 0))(kernel, batch)
    assert_alike(jax.vmap(jax.grad(jaxcnn.accelerate(loss)), (None, 0))(kernel, batch), expected)
    assert_alike(jax.vmap(jaxcnn.accelerate(jax.grad(loss)), (None, 0))(kernel, batch), expected)
    assert_alike(
        jax.grad(lambda k: jnp.sum(jax.grad(jaxcnn.accelerate(loss))(k, x) ** 2))(kernel),
        jax.grad(lambda k: jnp.sum(jax.grad(loss)(k, x) ** 2))(kernel),
    )


def test_gradients_that_autodiff_made_are_left() -> None:
    kernel, x = point()
    found = jaxcnn.sites(jax.grad(lambda kernel: conv(x, kernel).sum()), kernel)
    assert [site.left is not None and "autodiff made" in site.left for site in found] == [False, True]
    found = jaxcnn.sites(jax.grad(lambda kernel: jax.jit(conv)(x, kernel).sum()), kernel)
    assert [site.left is not None and "autodiff made" in site.left for site in found] == [False, True]


def test_a_second_time_changes_nothing() -> None:
    args = point()
    once = jaxcnn.accelerate(net)
    assert jaxcnn.accelerate(once) is once
    inside = jaxcnn.accelerate(lambda kernel, x: 2 * once(kernel, x))
    assert len(jaxcnn.sites(lambda kernel, x: 2 * once(kernel, x), *args)) == 0
    assert_alike(inside(*args), 2 * net(*args))


def test_our_own_ops_are_left_as_they_are() -> None:
    kernel, x = point()

    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return jaxcnn.ops.conv_relu_max_pool(jaxcnn.ops.max_pool(x, 2), kernel, None, 1, padding=1)

    assert len(jaxcnn.sites(f, kernel, x)) == 0
    assert_alike(jaxcnn.accelerate(f)(kernel, x), f(kernel, x))


def test_what_bodies_are_not_gone_into_is_said() -> None:
    kernel, x = point()

    @jax.custom_batching.custom_vmap
    def f(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return max_pool(conv(x, kernel))

    f.def_vmap(lambda size, mapped, kernel, x: (f(kernel, x), False))

    (first, second) = jaxcnn.sites(f, kernel, x)
    assert first.left == second.left == "inside custom_vmap, whose body is not gone into"
    assert_alike(jaxcnn.accelerate(f)(kernel, x), f(kernel, x))
