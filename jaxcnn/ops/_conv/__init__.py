"""Convolution: the rule in one file, one file an algorithm."""

from jaxcnn.ops._conv._maps import correlate as correlate
from jaxcnn.ops._conv._maps import input_gradient as input_gradient
from jaxcnn.ops._conv._maps import kernel_gradient as kernel_gradient
from jaxcnn.ops._conv._rule import conv as conv
