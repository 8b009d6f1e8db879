"""Is a hand-derived gradient right? For the rules here, and for anyone's.

check_vjp       raises at the first value or gradient that is off
comparisons     all that check_vjp looks at, with how far each is off
Comparison      one of them; its `Kind` says what is compared: value, gradient, difference or transformation
residuals       what a function keeps for its backward pass, by name and bytes
distinct        numbers with no tie among them and none at zero: away from the kinks of pools and of ReLU
integers        whole numbers, ties and zeros everywhere: at the kinks, and exact to the last bit
"""

from jaxcnn.check._compare import Comparison as Comparison
from jaxcnn.check._points import distinct as distinct
from jaxcnn.check._points import integers as integers
from jaxcnn.check._residuals import Residual as Residual
from jaxcnn.check._residuals import residuals as residuals
from jaxcnn.check._subject import Kind as Kind
from jaxcnn.check._vjp import check_vjp as check_vjp
from jaxcnn.check._vjp import comparisons as comparisons
