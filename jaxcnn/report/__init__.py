"""One page that tells of one or several training runs: `page` makes it, as `jaxcnn report` does, and `write` writes it.

The page is HTML that needs nothing beside it: no network, no other file, no script. Predictions are computed again from
a run's parameters, on its data set; where either is not there, the page says so in their place.
"""

from jaxcnn.report._page import page as page
from jaxcnn.report._write import refuse_others as refuse_others
from jaxcnn.report._write import write as write
