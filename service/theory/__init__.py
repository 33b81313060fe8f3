"""Deterministic equivalents for ridge and kernel regression on mixes of real and synthetic data."""
