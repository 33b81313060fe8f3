"""Recursively fitted distributions: Gaussians, vocabularies, tails, estimators; numpy and scipy only."""
