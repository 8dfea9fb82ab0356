"""Who is measured, on what."""

from __future__ import annotations

from dataclasses import dataclass

from .works import Work


@dataclass(frozen=True)
class Peer:
    """A library's way to do one kind of work."""

    name: str
    kind: str
    adapter: str  # module.function, in peers/adapters
    package: str  # what pip calls it
    order: int = 0  # of our interpolation: the same as theirs
    tolerance: float = 1e-5
    interpreter: str | None = None  # the name by which --python gives it one of its own
    device: str = "cpu"
    works: tuple[str, ...] = ()  # structures it can do; all if empty


_TIO2 = {"interpreter": "torchio2"}
_GPU = {"device": "cuda"}
PEERS = [
    Peer("Listing 2 (SciPy)", "noise", "scipy_.noise", "scipy", order=1),
    Peer("AlbumentationsX", "noise", "albumentationsx_.noise", "albumentationsx"),
    Peer("MONAI Rand3DElastic", "noise", "monai_.rand_3d_elastic", "monai"),
    Peer("MONAI RandSmoothDeform", "noise", "monai_.rand_smooth_deform", "monai"),
    Peer("TorchIO 1", "noise", "torchio_.noise", "torchio"),
    Peer("TorchIO 2", "noise", "torchio2_.noise", "torchio", **_TIO2),
    Peer("batchgeneratorsv2", "noise", "batchgeneratorsv2_.nearest", "batchgeneratorsv2"),
    Peer(
        "batchgeneratorsv2, as nnU-Net",
        "noise",
        "batchgeneratorsv2_.bilinear",
        "batchgeneratorsv2",
        order=1,
    ),
    Peer("cornucopia", "noise", "cornucopia_.cubic", "cornucopia"),
    Peer("cornucopia, order 1", "noise", "cornucopia_.linear", "cornucopia"),
    Peer(
        "elasticdeform",
        "noise",
        "elasticdeform_.noise",
        "elasticdeform",
        interpreter="elasticdeform",
    ),
    Peer("torch by hand, conv3d", "noise", "torch_.conv3d", "torch"),
    Peer("torch by hand, conv3d, compiled", "noise", "torch_.conv3d_compiled", "torch"),
    Peer("torch by hand, FFT", "noise", "torch_.fft", "torch"),
    Peer("Listing 2 (CuPy)", "noise", "cupy_.noise", "cupy", order=1, **_GPU),
    Peer("MONAI Rand3DElastic", "noise", "monai_.rand_3d_elastic", "monai", **_GPU),
    Peer("MONAI RandSmoothDeform", "noise", "monai_.rand_smooth_deform", "monai", **_GPU),
    Peer("TorchIO 2", "noise", "torchio2_.noise", "torchio", **_TIO2, **_GPU),
    Peer("cornucopia", "noise", "cornucopia_.cubic", "cornucopia", **_GPU),
    Peer("cornucopia, order 1", "noise", "cornucopia_.linear", "cornucopia", **_GPU),
    Peer("torch by hand, conv3d", "noise", "torch_.conv3d", "torch", **_GPU),
    Peer("torch by hand, conv3d, compiled", "noise", "torch_.conv3d_compiled", "torch", **_GPU),
    Peer("torch by hand, FFT", "noise", "torch_.fft", "torch", **_GPU),
    Peer("Listing 1 (SciPy)", "marginals", "scipy_.marginals", "scipy"),
    Peer("SciPy, float32", "marginals", "scipy_.marginals_float32", "scipy"),
    # Its weights are not normalised: their sum lacks the 6e-5 beyond four sigma, along each axis.
    Peer("MONAI GaussianFilter", "marginals", "monai_.marginals", "monai", tolerance=5e-4),
    Peer("torch by hand", "marginals", "torch_.marginals", "torch"),
    Peer("torch by hand, compiled", "marginals", "torch_.marginals_compiled", "torch"),
    # Another discretisation of the normal density, and an approximation of it:
    Peer(
        "SimpleITK DiscreteGaussian",
        "marginals",
        "simpleitk_.marginals",
        "SimpleITK",
        tolerance=0.05,
        works=("ball",),
    ),
    Peer(
        "SimpleITK SmoothingRecursiveGaussian",
        "marginals",
        "simpleitk_.marginals_recursive",
        "SimpleITK",
        tolerance=0.02,
        works=("ball",),
    ),
    Peer("torch by hand", "marginals", "torch_.marginals", "torch", **_GPU),
    Peer("torch by hand, compiled", "marginals", "torch_.marginals_compiled", "torch", **_GPU),
    Peer("Listing 3 (NumPy)", "decisions", "scipy_.decisions", "numpy"),
    Peer("RankSEG", "decisions", "rankseg_.decisions", "rankseg"),
    Peer("RankSEG, screened", "decisions", "rankseg_.decisions_screened", "rankseg"),
    Peer("torch by hand", "decisions", "torch_.decisions", "torch"),
    Peer("torch by hand, compiled", "decisions", "torch_.decisions_compiled", "torch"),
    Peer("torch by hand", "decisions", "torch_.decisions", "torch", **_GPU),
    Peer("torch by hand", "svls", "torch_.svls", "torch"),
    Peer("torch by hand, compiled", "svls", "torch_.svls_compiled", "torch"),
    # It stops earlier:
    Peer("SimpleITK STAPLE", "staple", "simpleitk_.staple", "SimpleITK", tolerance=1e-3),
]


def works(kind: str, sides: tuple[int, ...]) -> list[Work]:
    """From small to large, so that the small ones foretell what the large ones take."""
    middle = sides[len(sides) // 2]
    if kind == "noise":
        return [
            Work(kind, side, count, structure)
            for side in sides
            for count in (1, 4)
            for structure in ("ball", "organs")
        ]
    if kind == "marginals":
        return [*(Work(kind, side) for side in sides), Work(kind, middle, structure="organs")]
    if kind == "decisions":
        return [*(Work(kind, side) for side in sides), Work(kind, middle, count=8)]
    if kind == "svls":
        return [Work(kind, side, structure="organs") for side in sides]
    if kind == "staple":
        return [Work(kind, side, count=4) for side in sides]
    raise ValueError(f"no such kind: {kind}")
