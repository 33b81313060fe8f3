"""The random-walk law of efficient estimators."""
