"""Recursively fitted Gaussians."""
