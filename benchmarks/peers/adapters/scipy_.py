"""The papers' listings, with SciPy."""

import numpy as np
import scipy.ndimage

import listings

from . import one_by_one


def noise(volumes, noise):
    """Listing 2: filtered white noise moves the label; linear interpolation, rounded."""
    side = volumes.shape[1]
    a, b = noise.std / side, noise.length_scale / side

    def label(volume, seed):
        return listings.noisy_sample(volume, a, b, np.random.default_rng(seed))

    def image(volume, seed):
        # The listing rounds what it has moved: an image of large numbers is moved as it is.
        rng = np.random.default_rng(seed)
        return listings.noisy_sample(2.0**20 * volume, a, b, rng, mode="nearest") / 2.0**20

    return one_by_one(image if volumes.dtype.kind == "f" else label, volumes)


def marginals(labels, std, classes=None):
    """Listing 1: the label blurred, 0 outside."""
    if classes is None:
        return lambda seed: listings.noisy_marginals(labels, std / labels.shape[0])
    return lambda seed: _one_hot(labels, std, classes, float)


def marginals_float32(labels, std, classes=None):
    if classes is None:
        return lambda seed: scipy.ndimage.gaussian_filter(
            labels, std, mode="constant", output=np.float32
        )
    return lambda seed: _one_hot(labels, std, classes, np.float32)


def _one_hot(labels, std, classes, dtype):
    out = np.empty((classes, *labels.shape), dtype)
    for label, one in enumerate(out):
        scipy.ndimage.gaussian_filter(
            (labels == label).astype(dtype), std, mode="constant", cval=label == 0, output=one
        )
    return out


def decisions(maps):
    """Listing 3: every prefix of the sorted map is tried."""
    return lambda seed: [listings.dice_optimal(one) for one in maps]
