"""Networks, one a file: `init(key, ...) -> params` and `apply(params, x, *, ops=jaxcnn.ops, intermediates=False)`.

`ops` is the namespace that the network is computed with: `jaxcnn.ops` for the hand-derived gradients,
`jaxcnn.reference` for autodiff's. `NETS` has the networks by name.
"""

from types import ModuleType

from jaxcnn.nets import gap_cnn as gap_cnn
from jaxcnn.nets import lenet as lenet
from jaxcnn.nets import single_filter as single_filter

NETS: dict[str, ModuleType] = {"single_filter": single_filter, "gap_cnn": gap_cnn, "lenet": lenet}
