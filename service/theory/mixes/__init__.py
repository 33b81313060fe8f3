"""Mixes of several sources of one covariance, without random features: many of them side by side."""
