"""sdfgrid: surfaces from posed photographs by volume rendering of a signed distance field on a CPU or a GPU.

The method is that of NeuS (Wang et al. 2021) with the multi-resolution grid, numerical gradients and coarse-to-fine
levels of Neuralangelo (Li et al. 2023). Only Python 3.8, NumPy, Pillow and PyTorch are needed; Numba makes it three
times as fast on a CPU. Importing this package imports none of them.
"""
