"""torch, by hand: what one writes without a library, eager and compiled."""

import math

import torch
import torch.nn.functional as F


def _taps(sigma, device):
    radius = math.ceil(4 * sigma)
    x = torch.arange(-radius, radius + 1, device=device)
    taps = torch.exp(-(x**2) / (2 * sigma**2))
    return taps / taps.sum()


def _filter(volumes, taps):
    """Filter each channel of (n, channels, z, y, x) along each axis, 0 outside."""
    channels, radius = volumes.shape[1], len(taps) // 2
    for axis in range(3):
        shape, padding = [channels, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = len(taps), radius
        weights = taps.reshape([-1 if i == axis else 1 for i in range(3)]).expand(shape)
        volumes = F.conv3d(volumes, weights, padding=padding, groups=channels)
    return volumes


def _compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def _by_convolution(space, noise, device):
    """Give white noise (items, 3, *space) its width and standard deviation."""
    taps = _taps(noise.sigma, device)
    return lambda white: noise.std / taps.square().sum() ** 1.5 * _filter(white, taps)


def _by_fft(space, noise, device):
    """The same on a torus: faster for wide filters, and one side moves as the other does."""
    along = [torch.fft.fftfreq(n, device=device) for n in space[:-1]]
    grid = torch.meshgrid(*along, torch.fft.rfftfreq(space[-1], device=device), indexing="ij")
    gain = torch.exp(-2 * (math.pi * noise.sigma) ** 2 * sum(one**2 for one in grid))
    gain *= noise.std * (2 * math.sqrt(math.pi) * noise.sigma) ** 1.5
    return lambda white: torch.fft.irfftn(
        torch.fft.rfftn(white, dim=(2, 3, 4)) * gain, s=space, dim=(2, 3, 4)
    )


def conv3d(volumes, noise, device="cpu", filtered=_by_convolution, wrap=lambda function: function):
    """Noise, a filter, `grid_sample`; all items at once."""
    tensor = torch.from_numpy(volumes)[:, None].to(device)
    items, _, *space = tensor.shape
    smooth = filtered(space, noise, device)
    axes = [torch.linspace(-1, 1, size, device=device) for size in space]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])  # x, y, z
    voxel = 2 / (space[0] - 1)
    mode = "bilinear" if tensor.is_floating_point() else "nearest"

    def deform(labels, white):
        points = (grid + voxel * smooth(white)).movedim(1, -1)
        return F.grid_sample(
            labels.float(), points, mode=mode, padding_mode="border", align_corners=True
        ).to(labels.dtype)

    deform = wrap(deform)

    def call(seed):
        generator = torch.Generator(device).manual_seed(seed)
        white = torch.randn((items, 3, *space), generator=generator, device=device)
        return deform(tensor, white)[:, 0]

    return call


def conv3d_compiled(volumes, noise, device="cpu"):
    return conv3d(volumes, noise, device, wrap=_compiled)


def fft(volumes, noise, device="cpu"):
    return conv3d(volumes, noise, device, _by_fft)


def marginals(labels, std, classes=None, device="cpu", wrap=lambda function: function):
    tensor, taps = torch.from_numpy(labels).to(device), _taps(std, device)

    def soften(labels):
        if classes is None:
            return _filter(labels[None, None].float(), taps)[0, 0]
        hot = (labels == torch.arange(classes, device=device)[:, None, None, None]).float()
        hot[0] -= 1  # what lies outside is background
        soft = _filter(hot[None], taps)[0]
        soft[0] += 1
        return soft

    soften = wrap(soften)
    return lambda seed: soften(tensor)


def marginals_compiled(labels, std, classes=None, device="cpu"):
    return marginals(labels, std, classes, device, _compiled)


def decisions(maps, device="cpu", wrap=lambda function: function):
    """A sort and a cumulative sum of each map, in float64 where it counts."""
    tensor = torch.from_numpy(maps).to(device)
    count = torch.arange(1, tensor[0].numel() + 1, device=device)

    def decide(maps):
        flat = maps.flatten(1)
        total = flat.sum(1, dtype=torch.float64, keepdim=True)
        prefix = flat.sort(descending=True).values.cumsum(1, dtype=torch.float64)
        best = (prefix / (total + count)).amax(1)
        return maps >= best.reshape(-1, *[1] * (maps.ndim - 1))

    decide = wrap(decide)
    return lambda seed: decide(tensor)


def decisions_compiled(maps, device="cpu"):
    return decisions(maps, device, _compiled)


def svls(labels, classes, device="cpu", wrap=lambda function: function):
    """As in the paper's code: one-hot, padded, each channel convolved."""
    tensor = torch.from_numpy(labels).to(device)
    offsets = torch.stack(torch.meshgrid(*[torch.arange(-1.0, 2.0)] * 3, indexing="ij"))
    weights = torch.exp(-offsets.square().sum(0) / 2)
    weights[1, 1, 1] = weights.sum() - 1
    weights = (weights / weights.sum())[None, None].to(device)

    def soften(labels):
        hot = (labels == torch.arange(classes, device=device)[:, None, None, None]).float()
        return F.conv3d(F.pad(hot[:, None], (1,) * 6, mode="replicate"), weights)[:, 0]

    soften = wrap(soften)
    return lambda seed: soften(tensor)


def svls_compiled(labels, classes, device="cpu"):
    return svls(labels, classes, device, _compiled)
