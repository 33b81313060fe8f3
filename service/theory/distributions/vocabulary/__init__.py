"""Vocabularies under repeated sampling: which types survive, how diverse the model stays, and what text tells of it."""
