"""A Gaussian fitted to samples of a Gaussian, again and again."""
