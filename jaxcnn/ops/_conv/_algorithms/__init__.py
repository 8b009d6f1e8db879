"""The algorithms of convolution: one file each, with those of the three maps that it is for."""

from jaxcnn.ops._conv._algorithms._canonical import CANONICAL
from jaxcnn.ops._conv._algorithms._direct import DIRECT
from jaxcnn.ops._conv._algorithms._fft import FFT
from jaxcnn.ops._conv._algorithms._im2col import IM2COL
from jaxcnn.ops._conv._algorithms._onednn import ONEDNN
from jaxcnn.ops._conv._algorithms._phases import PHASES
from jaxcnn.ops._conv._algorithms._space_to_batch import SPACE_TO_BATCH
from jaxcnn.ops._conv._algorithms._split import SPLIT
from jaxcnn.ops._conv._algorithms._taps import TAPS
from jaxcnn.ops._conv._algorithms._toeplitz import TOEPLITZ
from jaxcnn.ops._conv._algorithms._winograd import WINOGRAD2, WINOGRAD4

ALGORITHMS = {
    each.name: each
    for each in (
        DIRECT,
        CANONICAL,
        IM2COL,
        TAPS,
        PHASES,
        SPACE_TO_BATCH,
        SPLIT,
        TOEPLITZ,
        WINOGRAD2,
        WINOGRAD4,
        FFT,
        ONEDNN,
    )
}
