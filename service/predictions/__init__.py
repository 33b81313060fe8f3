"""The predictions resource."""
