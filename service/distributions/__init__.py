"""The distributions resource: what becomes of a distribution that is fitted again and again."""
