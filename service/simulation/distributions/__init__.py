"""Distributions fitted again and again, sample by sample; no formula of the theory is used."""
