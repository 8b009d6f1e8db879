"""Where all is finite a faster way, and elsewhere one that keeps what is not finite to the windows that see it.

Some algorithms multiply by zeros, which adds no rounding but makes NaN of infinity and NaN where nothing saw them.
Whether there are any is seen in one pass over the arguments that they would spread from, and the map is then computed
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

Map = Callable[..., jax.Array]


def where_finite(fast: Map, careful: Map, checked: tuple[int, ...]) -> Map:
    """fast(*args) where the checked args are all finite, else careful(*args); under `jax.vmap` one choice for all.

    The fast way is computed wherever it stands, and done again in a loop of no turns or one: what stands in a branch
    XLA:CPU computes on one core. Both that and a flag that the loop's body computes, where a constant would do, cost
    [V]'s training step three times its time.
    """

    def computed(*args: jax.Array) -> jax.Array:
        are_finite = reduce(jnp.logical_and, [jnp.all(jnp.isfinite(args[number])) for number in checked])

        def again(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return carry[0] & False, careful(*args)

        _, result = lax.while_loop(lambda carry: carry[0], again, (~are_finite, fast(*args)))
        return result

    def of_examples(examples: int, mapped: Sequence[bool], *args: jax.Array) -> tuple[jax.Array, bool]:
        axes = [0 if maps else None for maps in mapped]
        of_all = partial(jax.vmap, in_axes=axes, axis_size=examples)
        return where_finite(of_all(fast), of_all(careful), checked)(*args), True

    chosen_for_one = custom_vmap(computed)
    chosen_for_one.def_vmap(of_examples)
    return chosen_for_one
