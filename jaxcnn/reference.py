"""The operations of `jaxcnn.ops` as plain forwards: the same names and signatures, no custom rule, no checks.

`jax.grad` of these is what the hand-derived gradients are held to, and forward-mode autodiff (`jax.jvp`,
`jax.hessian`), which a `custom_vjp` refuses, works on them.
"""

from jaxcnn.ops._avg_pool import reference as avg_pool
from jaxcnn.ops._conv._maps import reference_correlate as correlate
from jaxcnn.ops._conv._maps import reference_input_gradient as input_gradient
from jaxcnn.ops._conv._maps import reference_kernel_gradient as kernel_gradient
from jaxcnn.ops._conv._rule import reference as conv
from jaxcnn.ops._conv_general_dilated import reference as conv_general_dilated
from jaxcnn.ops._conv_relu_max_pool import reference as conv_relu_max_pool
from jaxcnn.ops._cross_entropy import reference as cross_entropy
from jaxcnn.ops._dense import reference as dense
from jaxcnn.ops._flatten import reference as flatten
from jaxcnn.ops._global_avg_pool import reference as global_avg_pool
from jaxcnn.ops._layer_norm import reference as layer_norm
from jaxcnn.ops._max_pool import reference as max_pool
from jaxcnn.ops._one_hot_prediction import reference as one_hot_prediction
from jaxcnn.ops._relu import reference as relu
from jaxcnn.ops._softmax import reference as softmax
from jaxcnn.ops._softmax_cross_entropy import reference as softmax_cross_entropy
from jaxcnn.ops._unfold import reference_fold as fold
from jaxcnn.ops._unfold import reference_unfold as unfold

__all__ = [
    "avg_pool",
    "conv",
    "conv_general_dilated",
    "conv_relu_max_pool",
    "correlate",
    "cross_entropy",
    "dense",
    "flatten",
    "fold",
    "global_avg_pool",
    "input_gradient",
    "kernel_gradient",
    "layer_norm",
    "max_pool",
    "one_hot_prediction",
    "relu",
    "softmax",
    "softmax_cross_entropy",
    "unfold",
]
