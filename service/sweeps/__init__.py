"""The sweeps resource: one prediction over a grid of its numbers; nothing is stored."""
