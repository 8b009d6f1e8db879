"""Convolution: one file for the rule, one for the choice, one per algorithm."""

from jaxcnn.ops._conv._conv_plan import conv_plan as conv_plan
from jaxcnn.ops._conv._maps import correlate as correlate
from jaxcnn.ops._conv._maps import input_gradient as input_gradient
from jaxcnn.ops._conv._maps import kernel_gradient as kernel_gradient
from jaxcnn.ops._conv._plan import Algorithms as Algorithms
from jaxcnn.ops._conv._plan import Plan as Plan
from jaxcnn.ops._conv._rule import conv as conv
