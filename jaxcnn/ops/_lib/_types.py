"""The shape legend as types, which the tests check at run time.

Names are shared within one call: every n of a function's arguments and result is the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, UInt

# convolution
X = Float[Array, "n *spatial c_in"]
Kernel = Float[Array, "*size c_in_per_group c_out"]
Y = Float[Array, "n *out c_out"]
TransposedKernel = Float[Array, "*size c_out_per_group c_in"]

# pooling and unfolding, channel by channel
Image = Float[Array, "n *spatial c"]
Pooled = Float[Array, "n *out c"]
Winner = UInt[Array, "n *out c"]
Patches = Float[Array, "n *out columns"]
Means = Float[Array, "n c"]

# dense layers and losses
Rows = Float[Array, "*rows f"]
Matrix = Float[Array, "f c"]
Products = Float[Array, "*rows c"]
Bias = Float[Array, " c"]
Scores = Float[Array, "*lead k"]
Losses = Float[Array, "*lead"]

Scalar = float | np.floating[Any] | np.ndarray | Array  # one number, known when the program is traced

# elementwise
Same = Float[Array, "*shape"]
Mask = Bool[Array, "*shape"]
