"""Generations of n-gram language models on a stored text."""
