"""The learner that fails on what it has not seen: scaling laws of heavy tails, and what synthetic data do to them."""
