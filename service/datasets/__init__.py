"""The data sets resource."""
