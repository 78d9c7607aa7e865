"""Discrete-time diffusion: the process, its samplers, and the model that a method derives from."""
