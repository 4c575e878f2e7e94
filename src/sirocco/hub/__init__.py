"""Pulling checkpoints from a Hugging Face hub: what is listed, what of it is taken, and how.

Names, sizes and bytes from a hub are hostile input. The room knows neither tensors nor the
catalogue: what a checkpoint must look like is told by the checks that it is given.
"""
