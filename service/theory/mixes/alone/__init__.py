"""One mix alone, in plain numbers: arrays of one would take longer for the same formulas than for the sums."""
