"""Use every kernel package of the installed wheel; run from a folder outside the checkout."""

from pathlib import Path

import numpy as np

import gfnoise
import gfnoise.cli

label = np.zeros((24, 20, 28), np.uint8)
label[6:18, 5:15, 7:21] = 1
noise = gfnoise.GaussianField(1.5, 5.0, ndim=3)
sample = noise.sample_labels(label, seed=0)
field = noise.displacement(label.shape, seed=0)
marginal = noise.marginals(label)
mask = gfnoise.optimal_segmentation(marginal)
assert (sample == gfnoise.warp_labels(label, field)).all()
assert 0.5 < gfnoise.score(mask, marginal) <= 1
assert "site-packages" in gfnoise.__file__, gfnoise.__file__
assert (Path(gfnoise.__file__).parent / "py.typed").exists()
assert gfnoise.cli.main(["info"]) == 0
print(f"gfnoise {gfnoise.__version__} works from its wheel")
