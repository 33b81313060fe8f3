"""Gaussian mixtures fitted to their own samples."""
