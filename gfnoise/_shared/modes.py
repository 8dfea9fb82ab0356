"""What lies outside an array: the names of the modes, in the order that the kernels number them."""

BEYOND = 1e15
"""No image has coordinates like these, and their fractions are lost anyway: no mode folds them."""

OF_LABELS = ("constant", "nearest")

OF_FILTERS = ("reflect", "constant", "nearest", "mirror", "wrap")
FILTER_SYNONYMS = {"grid-mirror": "reflect", "grid-constant": "constant", "grid-wrap": "wrap"}

OF_COORDINATES = (
    "constant",
    "grid-constant",
    "nearest",
    "reflect",
    "mirror",
    "grid-wrap",
    "wrap",
)
COORDINATE_SYNONYMS = {"grid-mirror": "reflect"}
