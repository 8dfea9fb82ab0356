"""Seeds of parts of a stream: of groups of samples, of simulations."""

import numpy as np

STREAMS_VERSION = 1
"""Of the noise of fields, and of the seeds of copies of a file (`cli._commands`).

It rises when a golden value of theirs in the tests changes: the command line then adds to no folder
of before. These values are of labels that no rounding changes.
"""


def part_seed(seed: int | np.uint64, number: int | np.uint32, part: int) -> int:
    """A seed below 2**63 for a part of the stream (seed, item number): a hash of all three.

    Neighbours are as far apart as any two: seeds 0 and 1 share no part of theirs.
    """
    high, low = divmod(int(seed), 1 << 32)
    # SeedSequence takes words of 32 bits: a number of several would end where another may begin.
    entropy = low, high & 0xFFFFFFFF, int(number), part, high >> 32
    words = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
