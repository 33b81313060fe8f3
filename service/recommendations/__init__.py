"""Recommendations: what to change so that the test error stays within a bound."""
