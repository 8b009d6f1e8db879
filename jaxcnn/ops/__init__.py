"""The operations, with hand-derived gradients: one file per operation, the mathematics in its first lines.

`jaxcnn.reference` has the same names and signatures as plain forwards, for autodiff. `Padding`, `PerAxis`, `Count` and
`Algorithms` are the types of their options, for annotations; `conv_plan` and `Plan` say who computes a convolution;
`engines` what compiled code there is for it.
"""

import inspect

from jaxcnn.ops._activation._relu import relu as relu
from jaxcnn.ops._activation._softmax import softmax as softmax
from jaxcnn.ops._conv import Algorithms as Algorithms
from jaxcnn.ops._conv import Plan as Plan
from jaxcnn.ops._conv import conv as conv
from jaxcnn.ops._conv import conv_plan as conv_plan
from jaxcnn.ops._conv import correlate as correlate
from jaxcnn.ops._conv import input_gradient as input_gradient
from jaxcnn.ops._conv import kernel_gradient as kernel_gradient
from jaxcnn.ops._conv._conv_general_dilated import conv_general_dilated as conv_general_dilated
from jaxcnn.ops._conv._conv_relu_max_pool import conv_relu_max_pool as conv_relu_max_pool
from jaxcnn.ops._conv._conv_transpose import conv_transpose as conv_transpose
from jaxcnn.ops._conv._native._engine import engines as engines
from jaxcnn.ops._dense import dense as dense
from jaxcnn.ops._flatten import flatten as flatten
from jaxcnn.ops._lib._numpy import mapped_too
from jaxcnn.ops._lib._window import Count as Count
from jaxcnn.ops._lib._window import Padding as Padding
from jaxcnn.ops._lib._window import PerAxis as PerAxis
from jaxcnn.ops._loss._cross_entropy import cross_entropy as cross_entropy
from jaxcnn.ops._loss._one_hot_prediction import one_hot_prediction as one_hot_prediction
from jaxcnn.ops._loss._softmax_cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from jaxcnn.ops._norm._layer_norm import layer_norm as layer_norm
from jaxcnn.ops._pool._avg_pool import avg_pool as avg_pool
from jaxcnn.ops._pool._global_avg_pool import global_avg_pool as global_avg_pool
from jaxcnn.ops._pool._max_pool import max_pool as max_pool
from jaxcnn.ops._unfold import fold as fold
from jaxcnn.ops._unfold import unfold as unfold

globals().update(
    {name: mapped_too(op) for name, op in globals().items() if inspect.isfunction(op) and op is not mapped_too}
)
del mapped_too
