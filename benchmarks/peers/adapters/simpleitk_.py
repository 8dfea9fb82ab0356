"""SimpleITK."""

import SimpleITK as sitk


def marginals(labels, std):
    image = sitk.GetImageFromArray(labels.astype("float32"))
    smooth = sitk.DiscreteGaussianImageFilter()
    smooth.SetVariance(std**2)
    smooth.SetMaximumError(1e-4)
    smooth.SetMaximumKernelWidth(2 * round(6 * std) + 1)
    return lambda seed: sitk.GetArrayFromImage(smooth.Execute(image))


def marginals_recursive(labels, std):
    """Its fast filter: an approximation whose cost does not depend on the width."""
    image = sitk.GetImageFromArray(labels.astype("float32"))
    smooth = sitk.SmoothingRecursiveGaussianImageFilter()
    smooth.SetSigma(std)
    return lambda seed: sitk.GetArrayFromImage(smooth.Execute(image))


def staple(masks):
    images = [sitk.GetImageFromArray(mask) for mask in masks]
    fuse = sitk.STAPLEImageFilter()
    fuse.SetForegroundValue(1)
    return lambda seed: sitk.GetArrayFromImage(fuse.Execute(images))
