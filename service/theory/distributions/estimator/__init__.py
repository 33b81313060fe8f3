"""The random walk of efficient estimators that are fitted to data drawn from their predecessors."""
