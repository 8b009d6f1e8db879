"""Any JAX function with the hand-derived rules in it: `jaxcnn.accelerate`, and what it did: `jaxcnn.sites`.

A function is traced (`_call`), its equations are gone through one by one (`_rewrite`), the bodies of jit, scan, while,
cond, checkpoint, custom rules and shard_map included (`_bodies`). A *site* is an equation that computes a convolution
or a pool: one file each says by which op it is computed, or why it is left to jax.lax (`_conv`, `_pools`). A chain of
convolution, bias, ReLU and max pool is one site where one op computes it (`_chains`). Everything else stays as it was
traced.
"""

from jaxcnn._accelerate._accelerate import accelerate as accelerate
from jaxcnn._accelerate._accelerate import sites as sites
