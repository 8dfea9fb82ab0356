"""AlbumentationsX (AGPL: measured here, used nowhere)."""

import albumentations
import cv2

from . import one_by_one

GRID = 7
STRONGEST = 0.75 / (2 * 2**0.5 * (GRID - 3)) * 0.999  # a finer grid must be weaker still


def noise(volumes, noise):
    """Bounded deformations of three planes: as strong as it allows."""
    transform = albumentations.Compose(
        [
            albumentations.ElasticTransform3D(
                displacement_range=(STRONGEST, STRONGEST),
                control_grid_shape=(GRID, GRID),
                border_mode=cv2.BORDER_REPLICATE,
                p=1.0,
            )
        ]
    )

    def label(volume, seed):
        transform.set_random_seed(seed)
        return transform(mask3d=volume)["mask3d"]

    def image(volume, seed):
        transform.set_random_seed(seed)
        return transform(volume=volume)["volume"]

    if volumes.dtype.kind == "f":
        return one_by_one(image, [volume[..., None] for volume in volumes])
    return one_by_one(label, volumes)
