"""Simulations: the process itself, drawn, labelled and fitted, as a referee of the theory."""
