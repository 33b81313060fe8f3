"""Vocabularies that are learnt and sampled, generation after generation."""
