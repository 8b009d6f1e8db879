"""`jaxcnn.accelerate` and `jaxcnn.sites`."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, overload

import jax

from jaxcnn._accelerate._nnx import is_nnx
from jaxcnn._accelerate._program import called, sites_of
from jaxcnn._accelerate._rewrite import Options
from jaxcnn._accelerate._sites import Sites
from jaxcnn.ops._conv._algorithm import MAPS
from jaxcnn.ops._conv._plan import Algorithms, plan_of

_ACCELERATED: weakref.WeakKeyDictionary[Callable[..., Any], tuple[Callable[..., Any], Options]]
_ACCELERATED = weakref.WeakKeyDictionary()


@overload
def accelerate(
    f: Callable[..., Any], *, plan: Algorithms | None = None, forward_mode: bool = False
) -> Callable[..., Any]: ...
@overload
def accelerate(
    f: None = None, *, plan: Algorithms | None = None, forward_mode: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def accelerate(
    f: Callable[..., Any] | None = None, *, plan: Algorithms | None = None, forward_mode: bool = False
) -> Callable[..., Any]:
    """The same function, its convolutions and pools computed by hand-derived rules, their gradients too.

    They are found wherever they are: in jit, scan, while, cond, checkpoint, custom rules, shard_map and vmap; in models
    of Flax (linen and nnx), Equinox, Haiku, Keras or plain jax. `jaxcnn.sites` tells what became of each. What no rule
    computes is left to jax.lax, as is everything else.

    Differentiate what is accelerated, not the other way around: of `accelerate(jax.grad(f))` the gradients that
    autodiff made are left to jax.lax.

    f is traced, as by `jax.jit`: it may not branch on the values of arrays, and what it does beside computing, it does
    when it is traced, once for each types and static values of its arguments. Python's numbers, booleans, strings and
    functions among the arguments are static. Objects of nnx are brought up to date in place.

    Args:
        f: any function of JAX; where it is left out, the result is a decorator.
        plan: who computes the maps of each convolution, as `algorithm` of `ops.conv`; "auto" where that cannot compute
            one, and where None.
        forward_mode: whether the result is differentiated in forward mode (`jax.jvp`, `jax.jacfwd`, `jax.hessian`,
            `jax.linearize`), which hand-derived rules refuse. Then all is left to jax.lax.

    Returns:
        a function with the signature, the pytrees and, to rounding, the values of f. A max pool propagates NaN, which
        jax.lax's loses on a CPU. A function that is accelerated comes back as it is.

    Raises:
        TypeError: f is not callable.
        ValueError: plan is no plan.

    Source:
        the rules of `ops.conv`, `ops.max_pool`, `ops.avg_pool` and `ops.conv_relu_max_pool`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss(kernel, x):
        ...     y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        ...     return jnp.sum(jax.nn.relu(y))
        >>> loss_and_grad = jax.jit(jax.value_and_grad(accelerate(loss)))
        >>> value, gradient = loss_and_grad(jnp.ones((3, 3, 1, 1)), jnp.ones((1, 4, 4, 1)))
        >>> float(value), gradient[:, :, 0, 0].tolist()
        (100.0, [[9.0, 12.0, 9.0], [12.0, 16.0, 12.0], [9.0, 12.0, 9.0]])
    """
    if f is None:
        return partial(accelerate, plan=plan, forward_mode=forward_mode)
    if not callable(f):
        raise TypeError(f"accelerate: f must be a function, got {f!r}")
    if _known(f) is not None:
        return f
    options = _options("accelerate", plan, forward_mode)
    function, bound = _unbound(f)

    @wraps(f, updated=())
    def accelerated(*args: Any, **kwargs: Any) -> Any:
        return called(function, (*bound, *args), kwargs, options)

    if bound:  # a model, which who looks for a function that is wrapped would take for one
        del accelerated.__wrapped__
    _ACCELERATED[accelerated] = f, options
    return accelerated


def sites(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Sites:
    """What `jaxcnn.accelerate` does to each convolution and pool of f, called with such arguments.

    Args:
        f: a function of JAX, accelerated or not.
        *args, **kwargs: its arguments; arrays, or `jax.ShapeDtypeStruct`s in their places. Nothing is computed.

    Returns:
        a table, with a row for each, or for a chain that one op computes: the user's line and the scope, the shapes,
        and who computes each of its maps, as `ops.conv_plan` says it for the default device, or why it is left to
        jax.lax; and totals. Printed it is text, `to_json()` is data, its rows are `Site`s.

    Raises:
        TypeError: f is not callable.

    Source:
        `ops.conv_plan`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def f(x):
        ...     return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        >>> found = sites(f, jnp.ones((1, 4, 4, 3), "float32"))
        >>> found[0].what, found[0].shapes, found[0].left
        ('max pool', ('float32[1,4,4,3]', 'float32[1,2,2,3]'), None)
        >>> print(found)
        line                    scope  what      shapes                                runs
        <doctest ...>:2 (f)            max pool  float32[1,4,4,3] -> float32[1,2,2,3]  max_pool first
        1 max pool by hand-derived rules, none left to jax.lax
    """
    if not callable(f):
        raise TypeError(f"sites: f must be a function, got {f!r}")
    f, options = _known(f) or (f, _options("sites", None, False))
    function, bound = _unbound(f)
    return sites_of(function, (*bound, *args), kwargs, options)


def _options(op: str, plan: Algorithms | None, forward_mode: bool) -> Options:
    return Options(plan_of(op, "auto" if plan is None else plan, MAPS), forward_mode)


def _known(f: Callable[..., Any]) -> tuple[Callable[..., Any], Options] | None:
    """What f accelerates, and how; None where it was not made here."""
    return _ACCELERATED.get(f) if inspect.isfunction(f) else None


def _unbound(f: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function, and the arguments it begins with: a model that is called, or whose method is, is an argument."""
    if inspect.ismethod(f):
        return f.__func__, (f.__self__,)
    if is_nnx(f) or not jax.tree_util.treedef_is_leaf(jax.tree.structure(f)):
        return _apply, (f,)
    return f, ()


def _apply(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return f(*args, **kwargs)
