"""The noise that is benchmarked. (The cases do without the library: peers run where it is not.)"""

from cases import AMPLITUDE, LENGTH_SCALE
from gfnoise import GaussianField

NOISE = GaussianField(AMPLITUDE, LENGTH_SCALE, spacing="unit", ndim=3)
