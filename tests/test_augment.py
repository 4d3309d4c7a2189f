"""Random numbers from counters, and views of images against plain loops over single images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from refusals import refused
from scipy import stats
from torch import Tensor

from softlabels.errors import SpecError
from softlabels.grid.parts.recipe import Augment
from softlabels.models.library import load
from softlabels.training.augment import bits, integers, normalise, plain_view, random_view, rotated, uniform

V2 = load("torchvision.transforms.v2.functional")
N = 20_000
IDS = torch.arange(N)
EVERYTHING = Augment(pad=2, crop=7, flip=True, brightness=63.0, contrast=(0.2, 1.8))


def image_batch(B: int = 64, C: int = 3, H: int = 8, W: int = 8) -> Tensor:
    return torch.randint(1, 256, (B, C, H, W), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def at(view: int, ids: Tensor = IDS) -> Tensor:
    return torch.full_like(ids, view)


# ------------------------------------------------------------ the generator


@pytest.mark.parametrize("n", [2, 5, 9, 64])
@pytest.mark.parametrize("along", ["ids", "views", "streams"])
def test_integers_are_uniform_along_every_counter(along: str, n: int) -> None:
    if along == "ids":
        found = integers(3, at(7), IDS, 0, n)
    elif along == "views":
        found = integers(3, IDS, torch.full_like(IDS, 11), 0, n)
    else:
        found = torch.cat([integers(s, at(7, IDS[:20]), IDS[:20], 0, n) for s in range(N // 20)])
    assert stats.chisquare(np.bincount(found.numpy(), minlength=n)).pvalue > 1e-4


def test_uniform_numbers_are_uniform() -> None:
    x = uniform(0, at(0), IDS, 3).numpy()
    assert 0 <= x.min() < 1e-3
    assert 1 - 1e-3 < x.max() < 1
    assert stats.kstest(x, "uniform").pvalue > 1e-4


def test_no_two_counters_are_correlated() -> None:
    """Neighbouring views, streams, channels and ids, and the exchanges of two counters for each other."""
    few = torch.arange(N) % 100
    columns = [
        uniform(0, at(0), IDS, 0), uniform(0, at(1), IDS, 0), uniform(1, at(0), IDS, 0), uniform(0, at(0), IDS, 1),
        uniform(0, at(0), IDS + 1, 0), uniform(1, at(1), IDS, 0), uniform(0, IDS, at(0), 0), uniform(0, few, IDS, 0),
    ]  # fmt: skip
    r = np.corrcoef(torch.stack(columns).numpy()) - np.eye(len(columns))
    assert np.abs(r).max() < 4.5 / np.sqrt(N)


def test_every_bit_is_fair_and_half_of_them_follow_any_bit_of_the_id() -> None:
    def unpack(z: Tensor) -> Tensor:
        return (z[:, None] >> torch.arange(63)) & 1

    one = unpack(bits(5, at(2), IDS, 0)).float()
    assert (one.mean(0) - 0.5).abs().max() < 4.5 * 0.5 / np.sqrt(N)
    for changed in range(0, 40, 3):
        other = unpack(bits(5, at(2), IDS ^ (1 << changed), 0)).float()
        assert ((one != other).float().mean(0) - 0.5).abs().max() < 0.05


def test_the_numbers_never_change() -> None:
    """Caches on disk belong to these views: splitmix64's finaliser in Python's own integers."""
    words = 1 << 64

    def mix(z: int) -> int:
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % words
        z = (z ^ z >> 27) * 0x94D049BB133111EB % words
        return z ^ z >> 31

    for stream, view, id_, channel in ((0, 0, 0, 0), (0, 0, 1, 0), (4, 99, 59_999, 3), (2**31, 10**6, 1_281_166, 4)):
        key = mix((id_ * 0xD1B54A32D192ED03 + stream * 0x9E3779B97F4A7C15) % words)
        wanted = mix((key + view * 0xABC98388FB8FAC03 + channel * 0x8CB92BA72F3D8DD7) % words) >> 1
        found = bits(stream, torch.tensor([view]), torch.tensor([id_]), channel).item()
        assert found == wanted
    assert bits(0, torch.tensor([99]), torch.tensor([59_999]), 0).item() == 3631327943342935771


# ------------------------------------------------------------ views


@pytest.mark.parametrize("spec", [EVERYTHING, Augment(shift=2), Augment(pad=4, flip=True)])
def test_a_view_depends_on_stream_id_and_view_alone(spec: Augment) -> None:
    images, ids, views = image_batch(), torch.arange(64) * 31, torch.arange(64) % 3
    whole = random_view(images, ids, views, 9, spec)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(random_view(images[order], ids[order], views[order], 9, spec), whole[order])
    for i in (0, 5, 63):  # alone, without the rest of the batch
        assert torch.equal(random_view(images[i : i + 1], ids[i : i + 1], views[i : i + 1], 9, spec)[0], whole[i])
    torch.manual_seed(123)  # no hidden generator
    assert torch.equal(random_view(images, ids, views, 9, spec), whole)
    for other in (
        random_view(images, ids, views, 10, spec),
        random_view(images, ids, views + 1, 9, spec),
        random_view(images, ids + 1, views, 9, spec),
    ):
        same = (other == whole).flatten(1).all(1).float().mean().item()
        assert same < 0.3  # a few shifts coincide by chance: 1 in 25 of shift 2


def loop_reference(image: Tensor, id_: int, view: int, stream: int, spec: Augment) -> Tensor:
    """One image, written out: zero border, window, mirror, brightness, contrast."""

    def draw(function: Callable[..., Tensor], *arguments: int) -> float:
        return function(stream, torch.tensor([view]), torch.tensor([id_]), *arguments).item()

    C, H, W = image.shape
    border, side = spec.pad or spec.shift, spec.crop
    h, w = side or H, side or W
    top, left = draw(integers, 0, H + 2 * border - h + 1), draw(integers, 1, W + 2 * border - w + 1)
    mirrored = spec.flip and draw(integers, 2, 2) == 1
    out = torch.zeros(C, h, w)
    for y in range(h):
        for x in range(w):
            source_y, source_x = int(top) + y - border, int(left) + (w - 1 - x if mirrored else x) - border
            if 0 <= source_y < H and 0 <= source_x < W:
                out[:, y, x] = image[:, source_y, source_x].float()
    if spec.brightness:
        out += spec.brightness * (2 * draw(uniform, 3) - 1)
    if spec.contrast is not None:
        low, high = spec.contrast
        factor = low + (high - low) * draw(uniform, 4)
        for c in range(C):
            out[c] = (out[c] - out[c].mean()) * factor + out[c].mean()
    return out


@pytest.mark.parametrize(
    "spec",
    [
        Augment(shift=2),
        Augment(pad=4, flip=True),
        Augment(crop=5),
        Augment(flip=True),
        Augment(brightness=63.0),
        Augment(contrast=(0.2, 1.8)),
        EVERYTHING,
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_views_equal_a_plain_loop(spec: Augment, size: tuple[int, int]) -> None:
    images = image_batch(12, 3, *size)
    ids, views = torch.arange(12) * 17, torch.arange(12) % 5
    found = random_view(images, ids, views, 2, spec)
    wanted = [loop_reference(*row, 2, spec) for row in zip(images, ids.tolist(), views.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (32, 32)])
def test_rotation_is_torchvisions(size: tuple[int, int]) -> None:
    """But for pixels whose source lies on the border of two, where rounding decides."""
    images = image_batch(40, 3, *size)
    angles = torch.linspace(-179.7, 180, 40, dtype=torch.float64)
    found = rotated(images, angles)
    for image, angle, ours in zip(images, angles, found, strict=True):
        theirs = V2.rotate(image, angle.item())
        assert (ours != theirs).any(0).double().mean() <= 0.02
    assert torch.equal(rotated(images, torch.zeros(40, dtype=torch.float64)), images)
    assert torch.equal(rotated(images, torch.full((40,), 90.0, dtype=torch.float64)), images.rot90(1, (2, 3)))


def test_angles_are_uniform_and_a_function_of_the_view() -> None:
    """A bright pixel to the right of the centre says by how much its image was turned."""
    spot = torch.zeros(2000, 1, 101, 101, dtype=torch.uint8)
    spot[:, :, 49:52, 94:97] = 255
    found = random_view(spot, IDS[:2000], at(3, IDS[:2000]), 0, Augment(rotate=15))
    y, x = torch.arange(101.0) - 50, torch.arange(101.0) - 50
    mass = found[:, 0] / found[:, 0].sum((1, 2), keepdim=True)
    angle = torch.rad2deg(torch.atan2(-(mass.sum(2) @ y), mass.sum(1) @ x))
    assert angle.abs().max() < 15.5
    assert stats.kstest(angle.numpy() / 30 + 0.5, "uniform").pvalue > 1e-4
    assert torch.equal(found[7:9], random_view(spot[7:9], IDS[7:9], at(3, IDS[7:9]), 0, Augment(rotate=15)))


def test_the_25_shifts_are_equally_frequent() -> None:
    image = torch.zeros(1, 1, 7, 7, dtype=torch.uint8)
    image[0, 0, 3, 3] = 255
    ids = torch.arange(5000)
    seen = random_view(image.expand(5000, -1, -1, -1), ids, at(4, ids), 1, Augment(shift=2)).flatten(1).argmax(1)
    counts = np.bincount(seen.numpy(), minlength=49).reshape(7, 7)
    assert counts.sum() == counts[1:6, 1:6].sum()
    assert stats.chisquare(counts[1:6, 1:6].ravel()).pvalue > 1e-4


def test_flips_are_fair_and_independent_of_the_shift() -> None:
    image = torch.arange(1, 4, dtype=torch.uint8).view(1, 1, 1, 3).expand(4000, 1, 3, 3)
    ids = torch.arange(4000)
    views = random_view(image, ids, at(0, ids), 0, Augment(pad=1, flip=True))[:, 0]
    middle = views.flatten(1).sort(1).values[:, -1] > 0
    assert middle.all()
    rows = (views.sum(2) > 0).int()
    vertical = 2 - rows[:, 0] - 1 + rows[:, 2]  # 0: up, 1: none, 2: down
    mirrored = integers(0, at(0, ids), ids, 2, 2)
    table = np.histogram2d(vertical.numpy(), mirrored.numpy(), (3, 2))[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert stats.binomtest(int(mirrored.sum()), 4000).pvalue > 1e-4


def test_brightness_and_contrast_stay_in_their_ranges() -> None:
    images, ids = image_batch(2000, 3, 4, 4), torch.arange(2000)
    change = random_view(images, ids, at(0, ids), 0, Augment(brightness=63.0)) - images
    assert change.flatten(1).std(1).max() < 1e-3  # one number for the whole image
    delta = change[:, 0, 0, 0].numpy()
    assert stats.kstest(delta, stats.uniform(-63, 126).cdf).pvalue > 1e-4
    seen = random_view(images, ids, at(0, ids), 0, Augment(contrast=(0.2, 1.8)))
    torch.testing.assert_close(seen.mean((2, 3)), images.float().mean((2, 3)), rtol=1e-4, atol=1e-2)
    ratio = (seen.std((2, 3)) / images.float().std((2, 3))).numpy()
    assert np.ptp(ratio, axis=1).max() < 1e-3  # one factor for all channels
    assert stats.kstest(ratio[:, 0], stats.uniform(0.2, 1.6).cdf).pvalue > 1e-4


def test_evaluation_sees_unchanged_images_or_their_centre() -> None:
    images = image_batch(3, 3, 9, 8)
    for spec in (Augment(), Augment(pad=4, flip=True), Augment(shift=2, brightness=63.0)):
        assert torch.equal(plain_view(images, spec), images.float())
    assert torch.equal(plain_view(images, Augment(crop=5, flip=True)), images[:, :, 2:7, 1:6].float())
    ids = torch.arange(3)
    assert torch.equal(random_view(images, ids, ids, 0, Augment()), images.float())


def test_a_crop_larger_than_the_image_is_refused() -> None:
    ids = torch.arange(2)
    with refused(SpecError, "augment.crop"):
        random_view(image_batch(2), ids, ids, 0, Augment(pad=2, crop=13))


# ------------------------------------------------------------ normalisation


def test_per_image_standardisation_is_tensorflows() -> None:
    """tf.image.per_image_standardization: (x − mean)/max(std, 1/√n) over all n values of an image."""
    images = image_batch(5).float()
    images[4] = 7.0  # constant: the bound keeps it finite
    found = normalise(images, "per_image", (), ())
    for x, y in zip(images.double().numpy(), found.numpy(), strict=True):
        wanted = (x - x.mean()) / max(x.std(), 1 / np.sqrt(x.size))
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    faint = torch.zeros(1, 1, 10, 10)
    faint[0, 0, 0, 0] = 0.1  # std 0.00995 < 1/√100
    assert normalise(faint, "per_image", (), ())[0, 0, 0, 0].item() == pytest.approx((0.1 - 0.001) * 10)


def test_dataset_normalisation_and_none() -> None:
    images = image_batch(2).float()
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    torch.testing.assert_close(normalise(images, "none", mean, std), images / 255)
    found = normalise(images, "dataset", mean, std)
    for c in range(3):
        torch.testing.assert_close(found[:, c], (images[:, c] / 255 - mean[c]) / std[c])


def test_imagenet_normalisation_is_torchvisions_whatever_the_data_set() -> None:
    images = image_batch(2).float()
    found = normalise(images, "imagenet", (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
    # torchvision.transforms.Normalize as its weights' recipes print it
    for c, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        torch.testing.assert_close(found[:, c], (images[:, c] / 255 - mean) / std)


def test_a_standardised_image_forgets_brightness_and_contrast() -> None:
    """So the tutorial's order matters: jitter first, standardisation last."""
    images = image_batch(4).float()
    same = normalise(1.7 * images - 20, "per_image", (), ())
    torch.testing.assert_close(same, normalise(images, "per_image", (), ()), rtol=1e-4, atol=1e-4)
