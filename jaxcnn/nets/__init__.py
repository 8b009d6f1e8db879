"""Networks, one per file, each of a few functions.

    init(key, ...) -> params
    apply(params, x, *, ops=jaxcnn.ops, state=(), key=None, train=False) -> (logits, state)

A network of your own is an `apply` of this form: all that trains, evaluates, predicts and exports calls it so.

    params  a pytree of arrays, which training moves
    x       images (N, *spatial, C), floats in [0, 1]; logits are (N, K)
    ops     what it is computed with: `jaxcnn.ops` for the hand-derived gradients, `jaxcnn.reference` for autodiff's
    state   a pytree of arrays that is carried from step to step and not differentiated, as running means for batch
            normalization; what is returned has the same structure, shapes and dtypes. A network without state returns
            it as it came: `return logits, state`
    key     a random key, as for dropout: in training a fresh one for each step and device, elsewhere None
    train   whether this is a training step. Where it is not, the state that is returned is dropped

A network with state has a third function for the first one, `init_state(...) -> state`. Those of its keyword arguments
that `init` has too are given the same values.

The networks here have `layers(params, x, *, ops) -> {name: array}` besides: what each layer makes of the images, logits
included. `NETS` has the networks by name.
"""

from types import ModuleType

from jaxcnn.nets import gap_cnn as gap_cnn
from jaxcnn.nets import lenet as lenet
from jaxcnn.nets import single_filter as single_filter

NETS: dict[str, ModuleType] = {"single_filter": single_filter, "gap_cnn": gap_cnn, "lenet": lenet}
