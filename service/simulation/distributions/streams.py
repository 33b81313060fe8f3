"""Random numbers of a replicate: its own generator, whatever the shard it is in."""

from numpy.random import Generator, SeedSequence, default_rng


def replicate_generator(seed: int, replicate: int) -> Generator:
    """Determined by (seed, replicate) alone."""
    return default_rng(SeedSequence(seed, spawn_key=(replicate,)))
