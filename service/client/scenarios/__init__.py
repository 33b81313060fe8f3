"""Published experiments as scenarios: each is predicted, on request simulated, and shown as table and plot."""
