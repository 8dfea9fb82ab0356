"""The listings of Nordström et al. 2023, the baseline."""

import numpy as np
import pytest

import listings


def test_listing_1_is_the_blurred_label_with_zero_outside():
    marginals = listings.noisy_marginals(np.ones((20, 20), np.uint8), 0.1)
    assert marginals.dtype == np.float64
    assert marginals[10, 10] == pytest.approx(1, abs=1e-3)
    assert marginals[0, 10] == pytest.approx(0.5 + 0.5 * 0.1995, abs=2e-3)  # half, and half a tap
    np.testing.assert_array_equal(
        marginals, listings.noisy_marginals(np.ones((20, 20), bool), [0.1, 0.1])
    )


@pytest.mark.parametrize("mode", ["constant", "nearest"])
def test_listing_2_moves_by_the_amplitude_in_the_middle(mode):
    """A half-plane's border at the centre is moved by a normal variable of the amplitude."""
    rng = np.random.default_rng(0)
    label = np.zeros((41, 31), np.int16)
    label[20:] = 1
    amplitude = (0.1, 0.0)
    # Foreground at row 20 means a displacement above -1/2 (row 19.5 rounds down to 0).
    inside = np.mean(
        [
            listings.noisy_sample(label, amplitude, listings.LENGTH_SCALE, rng, mode=mode)[22, 15]
            for _ in range(500)
        ]
    )
    expected = 0.7291  # Phi(2.5 / 4.1)
    assert abs(inside - expected) < 4 * np.sqrt(expected * (1 - expected) / 500)


def test_listing_2_has_no_displacement_at_amplitude_zero():
    label = np.arange(60).reshape(3, 4, 5) % 2
    sample = listings.noisy_sample(label, 0.0, 0.1, np.random.default_rng(0))
    np.testing.assert_array_equal(sample, label)


def test_listing_3():
    m = np.array([[1.0, 0.6], [0.3, 0.0]])  # Dice of the prefixes: 0.690, 0.821, 0.776, 0.644
    np.testing.assert_array_equal(listings.dice_optimal(m), [[1, 1], [0, 0]])
    np.testing.assert_array_equal(listings.dice_optimal(np.zeros((2, 2))), np.zeros((2, 2)))
