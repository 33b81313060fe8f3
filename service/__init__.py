"""Predictions and simulations of model collapse, as a service."""

__version__ = "0.1.0"
