"""The simulations resource."""
