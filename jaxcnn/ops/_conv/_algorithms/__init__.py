"""The algorithms of convolution: one file each, with those of the three maps that it is for."""
