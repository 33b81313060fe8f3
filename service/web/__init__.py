"""What every route shares: problems, request ids, limits, health, metrics, the documentation page."""
