"""Predictions from uncertain inputs: intervals for every output, and which input to measure better."""
