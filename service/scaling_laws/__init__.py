"""Scaling laws: exponents, effective samples and crossover of recursions on power laws."""
