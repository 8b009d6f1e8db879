"""Photos and drawings of digits, as a network trained on MNIST expects them."""

from jaxcnn.pictures._prepare import Digit as Digit
from jaxcnn.pictures._prepare import digits as digits
from jaxcnn.pictures._prepare import prepare as prepare
from jaxcnn.pictures._prepare import varied as varied
from jaxcnn.pictures._read import FORMATS as FORMATS
from jaxcnn.pictures._read import MAX_BYTES as MAX_BYTES
from jaxcnn.pictures._read import MAX_PIXELS as MAX_PIXELS
from jaxcnn.pictures._read import SIDE as SIDE
from jaxcnn.pictures._read import Found as Found
from jaxcnn.pictures._read import PictureError as PictureError
from jaxcnn.pictures._read import find as find
from jaxcnn.pictures._read import read as read
