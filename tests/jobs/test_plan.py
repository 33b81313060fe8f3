import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.plan import MAX_SHARDS, SECONDS_PER_SHARD, shard_ranges
from service.simulation.costs import FLOPS_PER_SECOND


@given(st.integers(1, 10_000), st.floats(0, 1e16))
def test_the_ranges_partition_the_replicates(replicates: int, flops: float) -> None:
    ranges = shard_ranges(replicates, flops)
    assert [r for first, last in ranges for r in range(first, last)] == list(range(replicates))
    assert len(ranges) <= MAX_SHARDS
    sizes = {last - first for first, last in ranges}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("seconds", "shards"), [(1e-3, 1), (15.0, 10), (1e9, 100)])
def test_a_shard_takes_a_second_or_two(seconds: float, shards: int) -> None:
    """100 replicates of together ``seconds`` of work."""
    assert SECONDS_PER_SHARD == 1.5
    assert len(shard_ranges(100, seconds * FLOPS_PER_SECOND / 100)) == shards


def test_no_replicates() -> None:
    with pytest.raises(ValueError, match="at least one"):
        shard_ranges(0, 1.0)
