"""Kernel density estimates of their own samples."""
