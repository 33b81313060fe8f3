"""Covariances that share no eigenbasis: the same theory with matrices in the place of eigenmodes."""
