"""The kernels of the hot loop: top-k and sparse products."""
