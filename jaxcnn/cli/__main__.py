"""`python -m jaxcnn.cli`, the same as `jaxcnn`."""

from jaxcnn.cli import main

main()
