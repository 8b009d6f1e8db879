"""A faster way where all is finite, otherwise one that keeps NaN and infinity to the windows that see them.

Some algorithms multiply by zeros. That adds no rounding, but makes NaN of infinity and NaN in windows that do not see
them. One pass over the arguments that they would spread from finds whether there are any; if so, the map is computed
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

    The fast way always runs. `careful` follows in a loop of zero turns or one, since XLA:CPU computes a branch on one
    core. A branch, or a flag that the loop's body computes where a constant would do, makes [V]'s training step three
    times as slow.
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
