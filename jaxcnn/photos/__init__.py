"""Photos and drawings of digits, as a network trained on MNIST expects them."""

from jaxcnn.photos._prepare import Digit as Digit
from jaxcnn.photos._prepare import digits as digits
from jaxcnn.photos._prepare import prepare as prepare
from jaxcnn.photos._prepare import varied as varied
from jaxcnn.photos._read import FORMATS as FORMATS
from jaxcnn.photos._read import MAX_BYTES as MAX_BYTES
from jaxcnn.photos._read import MAX_PIXELS as MAX_PIXELS
from jaxcnn.photos._read import SIDE as SIDE
from jaxcnn.photos._read import Found as Found
from jaxcnn.photos._read import PictureError as PictureError
from jaxcnn.photos._read import find as find
from jaxcnn.photos._read import read as read
