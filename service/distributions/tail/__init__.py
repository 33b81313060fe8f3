"""Scaling laws of heavy tails."""
