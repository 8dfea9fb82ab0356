"""Seeds of parts of a stream: of groups of samples, of simulations."""

import numpy as np


def part_seed(seed: int | np.uint64, number: int | np.uint32, part: int) -> int:
    """A seed below 2**63 for a part of the stream (seed, item number): a hash of all three.

    Neighbours are as far apart as any two: seeds 0 and 1 share no part of theirs.
    """
    words = np.random.SeedSequence((int(seed), int(number), part)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
