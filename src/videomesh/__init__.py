"""What the steps of the workflow are made of: one module or folder for each stage, named like it.

errors, files, checks, scene and the code of the stages frames, poses and meshing run inside foreign images: Python 3.8,
the standard library, NumPy and Pillow (meshing also PyTorch). Importing this package imports none of them.
"""
