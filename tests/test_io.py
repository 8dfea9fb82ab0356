"""Label files: what is kept, and what a damaged file is told."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfnoise import io

nibabel = pytest.importorskip("nibabel")
nrrd = pytest.importorskip("nrrd")

AFFINE = np.array([[0, -0.8, 0, 5], [0.9, 0, 0, -7], [0, 0, 2.5, 1], [0, 0, 0, 1.0]])


@pytest.fixture
def labels() -> np.ndarray:
    made = np.zeros((9, 8, 7), np.int16)
    made[2:6, 3:7, 1:5] = 300
    made[3:5, 3:5, 2:4] = -1
    return made


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write with the format's own library."""
    if path.suffix == ".npy":
        np.save(path, data)
    elif path.suffix == ".nrrd":
        header = {
            "space": "left-posterior-superior",
            "space directions": affine[: data.ndim, : data.ndim].T,
            "space origin": affine[: data.ndim, 3],
        }
        nrrd.write(str(path), data, header if data.ndim == 3 else {"spacings": [0.9, 0.8]})
    else:
        nibabel.save(nibabel.Nifti1Image(data, affine, dtype=data.dtype), path)
    return path


def header_of(path: Path) -> Any:
    return nrrd.read_header(str(path)) if path.suffix == ".nrrd" else nibabel.load(path).header


@pytest.mark.parametrize("suffix", io.SUFFIXES)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "f4", "f8", ">i2"])
def test_labels_return_as_they_were(
    suffix: str, dtype: str, labels: np.ndarray, tmp_path: Path
) -> None:
    data = np.abs(labels % 100).astype(dtype)
    first = io.read_labels(save(tmp_path / f"first{suffix}", data))
    np.testing.assert_array_equal(first.data, data)
    assert first.data.dtype.kind in "iu"
    assert first.dtype == np.dtype(dtype).newbyteorder("=")
    if suffix != ".npy":
        assert first.spacing == pytest.approx((0.9, 0.8, 2.5))
        np.testing.assert_allclose(first.affine, AFFINE, atol=1e-6)

    io.write(tmp_path / f"second{suffix}", first.data.astype(first.dtype), first)
    second = io.read_labels(tmp_path / f"second{suffix}")
    np.testing.assert_array_equal(second.data, data)
    assert (second.dtype, second.spacing) == (first.dtype, first.spacing)
    first.check_pair(second)
    assert sorted(os.listdir(tmp_path)) == [f"first{suffix}", f"second{suffix}"]


def test_the_header_of_nifti_is_kept(labels: np.ndarray, tmp_path: Path) -> None:
    image = nibabel.Nifti2Image(labels, AFFINE)
    image.header["descrip"] = b"a scanner"
    image.header.set_xyzt_units("micron")
    image.set_qform(AFFINE, 3)
    image.set_sform(AFFINE, 2)
    nibabel.save(image, tmp_path / "a.nii")
    first = io.read_labels(tmp_path / "a.nii")
    assert first.spacing == pytest.approx((0.9e-3, 0.8e-3, 2.5e-3))  # in mm
    np.testing.assert_allclose(first.affine[:3], AFFINE[:3] / 1000, atol=1e-9)

    io.write(tmp_path / "b.nii.gz", np.zeros(labels.shape, np.float32), first)
    found = nibabel.load(tmp_path / "b.nii.gz")
    assert isinstance(found, nibabel.Nifti2Image)
    assert found.get_data_dtype() == np.float32
    for key in ("descrip", "qform_code", "sform_code", "xyzt_units", "pixdim", "srow_x"):
        np.testing.assert_array_equal(found.header[key], image.header[key])


def test_labels_that_the_header_scales(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "a.nii")
    stored = nibabel.load(tmp_path / "a.nii").get_fdata()
    found = io.read_labels(tmp_path / "a.nii")
    np.testing.assert_array_equal(found.data, stored)
    assert found.dtype == np.float32


def test_labels_of_float16(tmp_path: Path) -> None:
    """Whose largest number, 65504, is below any bound of what labels may be."""
    made = np.zeros((4, 5), np.float16)
    made[1:3, 1:3], made[3, 3] = 65504, -1
    found = io.read_labels(save(tmp_path / "a.npy", made))
    np.testing.assert_array_equal(found.data, made)
    assert (found.data.dtype, found.dtype) == (np.int64, np.float16)
    for wrong, told in ((0.5, "0.5"), (np.inf, "inf"), (np.nan, "nan")):
        made[0, 0] = wrong
        with pytest.raises(io.FileError, match=rf"float16 with the value {told}\)"):
            io.read_labels(save(tmp_path / "a.npy", made))


def test_flat_labels_are_read(tmp_path: Path) -> None:
    for suffix in io.SUFFIXES:
        path = save(tmp_path / f"flat{suffix}", np.eye(5, 4, dtype=np.uint8))
        found = io.read_labels(path)
        assert found.data.shape == (5, 4)
        assert found.spacing is None or found.spacing == pytest.approx((0.9, 0.8))
        io.write(tmp_path / f"again{suffix}", found.data, found)
        assert io.read_labels(tmp_path / f"again{suffix}").spacing == found.spacing


def test_a_flat_nrrd_in_space(tmp_path: Path) -> None:
    """Whose affine leads from two dimensions to three."""
    header = {
        "space": "left-posterior-superior",
        "space directions": AFFINE[:3, :2].T,
        "space origin": AFFINE[:3, 3],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), np.eye(5, 4, dtype=np.uint8), header)
    found = io.read_labels(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(found.affine, AFFINE[:, [0, 1, 3]])
    assert found.spacing == pytest.approx((0.9, 0.8))


def test_nrrd_without_geometry(labels: np.ndarray, tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "a.nrrd"), labels, {"encoding": "raw", "old min": 3})
    found = io.read_labels(tmp_path / "a.nrrd")
    assert found.spacing is None
    io.write(tmp_path / "b.nrrd", labels.astype(np.uint8), found)
    header = nrrd.read_header(str(tmp_path / "b.nrrd"))
    assert (header["encoding"], header["type"]) == ("raw", "uint8")


def test_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    for suffix in io.SUFFIXES:
        found = io.read_map(save(tmp_path / f"a{suffix}", values))
        assert found.data.dtype == np.float32
        np.testing.assert_array_equal(found.data, values)
    assert io.read_map(save(tmp_path / "b.npy", np.eye(3, dtype=np.uint8))).data.dtype == np.float32
    assert io.read_map(save(tmp_path / "c.npy", np.eye(3))).data.dtype == np.float64


# --- what is refused ----------------------------------------------------------------------------


def refused(path: Path, match: str, read: Any = io.read_labels) -> None:
    with pytest.raises(io.FileError, match=match) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("suffix", io.SUFFIXES)
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.97])
def test_truncated_files_are_refused(suffix: str, part: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 60, (16, 16, 16), np.int16)
    path = save(tmp_path / f"a{suffix}", random)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path, "cannot be read|truncated")


def test_a_bit_that_flipped_within_a_compressed_stream(tmp_path: Path) -> None:
    """Of stored blocks it is a voxel; only the checksum at the end tells."""
    data = np.zeros((20, 20, 20), np.uint8)
    data[5:15, 5:15, 5:15] = 1
    plain = save(tmp_path / "a.nii", data)
    stream = bytearray(gzip.compress(plain.read_bytes(), 0))
    stream[4000] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(stream)
    refused(tmp_path / "a.nii.gz", "cannot be read: CRC")


def test_what_an_nrrd_skips(tmp_path: Path) -> None:
    """It is no part of what is written like it; more than the file has is refused."""
    data = (np.arange(120, dtype=np.uint8) % 50).reshape(6, 5, 4, order="F")
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: raw\n"
    path = tmp_path / "a.nrrd"
    for skip, before in ((b"line skip: 1", b"a note\n"), (b"byte skip: 3", b"abc")):
        path.write_bytes(head + skip + b"\n\n" + before + data.tobytes(order="F"))
        image = io.read_labels(path)
        np.testing.assert_array_equal(image.data, data)
        io.write(tmp_path / "b.nrrd", image.data, like=image)
        np.testing.assert_array_equal(io.read_labels(tmp_path / "b.nrrd").data, data)
    path.write_bytes(head + b"line skip: 1000000000000\n\n" + data.tobytes(order="F"))
    refused(path, "line skip is 1000000000000, but the file has 2.. bytes")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_axis_beyond_nifti_1(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    io.write(path, np.ones((40_000, 2), np.uint8))
    assert io.read_labels(path).data.shape == (40_000, 2)


@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_damaged_files_are_refused_or_read_as_they_are(
    suffix: str, labels: np.ndarray, tmp_path: Path
) -> None:
    """Bytes changed anywhere: an image, or FileError; nothing else."""
    path = save(tmp_path / f"a{suffix}", labels)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(150):
        broken = bytearray(whole)
        for place in random.integers(0, min(len(whole), 400), random.integers(1, 5)):
            broken[place] = random.integers(256)
        path.write_bytes(broken)
        try:
            found = io.read_labels(path)
        except io.FileError:
            continue
        assert found.data.ndim in (2, 3)


def test_headers_that_announce_too_much(labels: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", labels)
    raw = bytearray(path.read_bytes())
    raw[40:56] = np.array([3, *[32767] * 3, *[1] * 4], "<i2").tobytes()
    path.write_bytes(raw)
    refused(path, "announces 70362\\d* bytes, the file has 1360")
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(bytes(raw)))
    refused(packed, "announces 70362")

    path = save(tmp_path / "a.nrrd", labels)
    raw = path.read_bytes().replace(b"sizes: 9 8 7", b"sizes: 99999 99999 99999")
    path.write_bytes(raw)
    refused(path, "announces 999970000299999 bytes")

    path = tmp_path / "a.npy"
    with path.open("wb") as stream:
        entry = {"descr": "|u1", "fortran_order": False, "shape": (1 << 20,) * 3}
        np.lib.format.write_array_header_1_0(stream, entry)
    refused(path, "cannot be read")
    path.write_bytes(b"\x93NUMPY\x02\x00" + np.uint32(1 << 30).tobytes() + b" " * 20_000)
    refused(path, "cannot be read")


@pytest.mark.parametrize("skip", ["", "line skip: 2\n"])
def test_bzip2_that_unpacks_to_more_than_is_announced(skip: str, tmp_path: Path) -> None:
    """It may be a thousand times larger than any memory: reading stops before."""
    header = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 5\nencoding: bzip2\n{skip}\n"
    start = header.encode() + b"a\nb\n" * bool(skip)
    path = tmp_path / "a.nrrd"
    path.write_bytes(start + bz2.compress(bytes(64 << 20)))
    tracemalloc.start()
    refused(path, "a.nrrd: holds more than the 160 bytes that its header announces")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    path.write_bytes(start + bz2.compress(bytes(range(20))))
    np.testing.assert_array_equal(io.read_labels(path).data.T.ravel(), np.arange(20))


@pytest.mark.parametrize("dtype", ["f2", "?", "u8", "f8", ">i2"])
@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_dtypes_that_are_written(suffix: str, dtype: str, tmp_path: Path) -> None:
    data = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    io.write(tmp_path / f"a{suffix}", data)
    np.testing.assert_array_equal(io.read_labels(tmp_path / f"a{suffix}").data, data)


@pytest.mark.parametrize("dtype", ["c8", "g", "U3", "O", "M8[s]"])
@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_dtypes_that_are_not(suffix: str, dtype: str, tmp_path: Path) -> None:
    with pytest.raises(io.FileError, match=rf"a{suffix}: expected integers or floats of at most 8"):
        io.write(tmp_path / f"a{suffix}", np.zeros((2, 3, 4), dtype))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("dtype", "written"), [("?", "u1"), ("f2", "f4")])
@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_dtypes_that_a_format_lacks(suffix: str, dtype: str, written: str, tmp_path: Path) -> None:
    io.write(tmp_path / f"a{suffix}", np.ones((2, 3), dtype))
    found = io.read_labels(tmp_path / f"a{suffix}").dtype
    assert found == (dtype if suffix == ".npy" else written)


@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_shapes_that_are_not_those_of_the_image(
    suffix: str, labels: np.ndarray, tmp_path: Path
) -> None:
    """Of which the affine would be another's: several raters, classes last, a crop."""
    like = io.read_labels(save(tmp_path / f"a{suffix}", labels))
    target = tmp_path / f"b{suffix}"
    one_by_one = ": write one rater at a time"
    for data, hint in (
        (np.stack([labels] * 3), one_by_one),
        (np.stack([labels] * 3, axis=-1), one_by_one),
        (labels[None], one_by_one),
        (labels[1:], ""),
        (labels.T, ""),
        (labels[0], ""),
    ):
        with pytest.raises(io.FileError) as caught:
            io.write(target, data, like)
        expected = f"data must have the shape of a{suffix}, (9, 8, 7), got {data.shape}{hint}"
        assert str(caught.value) == f"{target}: {expected}"
        assert not target.exists()
    io.write(target, labels, like)


@pytest.mark.parametrize("suffix", io.SUFFIXES)
def test_other_shapes_and_dtypes(suffix: str, tmp_path: Path) -> None:
    def file(data: np.ndarray) -> Path:
        if suffix == ".nrrd":
            nrrd.write(str(tmp_path / "a.nrrd"), data)
            return tmp_path / "a.nrrd"
        return save(tmp_path / f"a{suffix}", data)

    refused(file(np.zeros((2, 3, 4, 5), np.uint8)), r"2 or 3 axes, got shape \(2, 3, 4, 5\)")
    if suffix in (".nii", ".nii.gz", ".npy"):
        refused(file(np.zeros((2, 3, 4), np.complex64)), "integers or floats .*got complex64")
    image = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    refused(file(image), "labels, which are whole numbers, got an image or a map")
    refused(file(np.where(image > 0, np.nan, 1).astype(np.float32)), "whole numbers.*nan")
    refused(file((image * 1000).astype(np.int16)), "looks like an image")
    refused(file(image), r"probabilities in \[0, 1\]", io.read_map)
    refused(file(np.full((2, 3), np.nan)), r"probabilities in \[0, 1\]", io.read_map)


def test_broken_affines_are_refused(labels: np.ndarray, tmp_path: Path) -> None:
    broken = AFFINE.copy()
    broken[0, 1] = np.nan
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.header["srow_x"] = broken[0]
    image.header["sform_code"] = 1
    path = tmp_path / "a.nii"
    path.write_bytes(image.header.binaryblock + bytes(4) + labels.tobytes("F"))
    refused(path, "finite affine")

    image.header["srow_x"], image.header["srow_y"] = 0, AFFINE[1]
    path.write_bytes(image.header.binaryblock + bytes(4) + labels.tobytes("F"))
    refused(path, "positive voxel size on each axis, got 0.9, 0, 2.5")

    nrrd.write(str(tmp_path / "a.nrrd"), labels, {"spacings": [1, -1, 1]})
    refused(tmp_path / "a.nrrd", "positive voxel size")


def test_files_that_would_do_more_than_hold_an_array(labels: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    refused(tmp_path / "a.npy", "is damaged, or holds Python objects")
    np.savez(tmp_path / "b", labels)
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    refused(tmp_path / "b.npy", "an archive of several")
    header = {"encoding": "raw"}
    nrrd.write(str(tmp_path / "c.nrrd"), labels, header)
    raw = (
        (tmp_path / "c.nrrd")
        .read_bytes()
        .replace(b"encoding: raw", b"encoding: raw\ndata file: c.raw")
    )
    (tmp_path / "c.raw").write_bytes(labels.tobytes())
    (tmp_path / "c.nrrd").write_bytes(raw)
    refused(tmp_path / "c.nrrd", "in the file itself, not in another")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x93NUMPX", None])
def test_npy_that_holds_no_array(content: bytes | None, tmp_path: Path) -> None:
    """NumPy's own words would say how to run what is in it."""
    path = tmp_path / "a.npy"
    if content is None:
        np.save(path, np.array([{}], object), allow_pickle=True)
    else:
        path.write_bytes(content)
    expected = f"{path}: cannot be read: it is damaged, or holds Python objects"
    for read in (io.read_labels, io.read_map):
        with pytest.raises(io.FileError) as caught:
            read(path)
        assert str(caught.value) == expected


def test_what_is_missing_is_told_before_a_wrong_name(tmp_path: Path) -> None:
    """What is there is asked before what it is called."""
    for name in ("a.nii.gz", "a.png", "labls"):
        refused(tmp_path / name, "no such file$")
    expected = r"expected a file \.nii\.gz, \.nii, \.nrrd, \.npy, got "
    for name in ("labels", "folder.nii"):
        (tmp_path / name).mkdir()
        refused(tmp_path / name, expected + "a folder$")
        refused(tmp_path / name, expected + "a folder$", io.read_map)
    (tmp_path / "a.png").touch()
    refused(tmp_path / "a.png", expected + "another name$")


def test_images_of_another_geometry_are_no_pair(labels: np.ndarray, tmp_path: Path) -> None:
    first = io.read_labels(save(tmp_path / "a.nii", labels))
    other = io.read_labels(save(tmp_path / "b.nii", labels[1:]))
    with pytest.raises(io.FileError, match=r"b\.nii: expected the shape of a\.nii, \(9, 8, 7\)"):
        first.check_pair(other)
    moved = AFFINE.copy()
    moved[0, 3] += 0.01
    other = io.read_labels(save(tmp_path / "c.nii", labels, moved))
    with pytest.raises(io.FileError, match=r"c\.nii: expected the affine of a\.nii, got another"):
        first.check_pair(other)
    moved[0, 3] = AFFINE[0, 3] + 1e-5  # as programs round
    first.check_pair(io.read_labels(save(tmp_path / "d.nii", labels, moved)))
    first.check_pair(io.read_labels(save(tmp_path / "e.npy", labels)))  # which says nothing


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("micron", 1e-3), ("unknown", 1)])
def test_pairs_in_any_unit(unit: str, mm: float, labels: np.ndarray, tmp_path: Path) -> None:
    """A thousandth of a mm is as near as no distance, whatever the header counts in."""

    def image(name: str, shift: float, unit: str, mm: float) -> io.Image:
        affine = AFFINE.copy()
        affine[0, 3] += shift
        affine[:3] /= mm
        made = nibabel.Nifti1Image(labels, affine)
        made.header.set_xyzt_units(unit)
        nibabel.save(made, tmp_path / name)
        return io.read_labels(tmp_path / name)

    first = image("a.nii", 0, unit, mm)
    assert first.spacing == pytest.approx((0.9, 0.8, 2.5))
    np.testing.assert_allclose(first.affine, AFFINE, atol=1e-5)
    first.check_pair(image("b.nii", 5e-4, unit, mm))
    first.check_pair(image("c.nii", 0, "mm", 1))
    with pytest.raises(io.FileError, match="expected the affine"):
        first.check_pair(image("d.nii", 2e-3, unit, mm))
    io.write(tmp_path / "e.nii", labels, first)
    source, copy = (nibabel.load(tmp_path / name) for name in ("a.nii", "e.nii"))
    np.testing.assert_array_equal(copy.affine, source.affine)
    assert copy.header.binaryblock == source.header.binaryblock
    first.check_pair(io.read_labels(tmp_path / "e.nii"))


def test_a_unit_that_nifti_does_not_know(labels: np.ndarray, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.header["xyzt_units"] = 0b11_000_101
    nibabel.save(image, tmp_path / "a.nii")
    found = io.read_labels(tmp_path / "a.nii")
    assert found.spacing == pytest.approx((0.9, 0.8, 2.5))


@pytest.mark.parametrize(("unit", "mm"), [("m", 1e3), ("um", 1e-3), ("mm", 1), ("", 1), ("s", 1)])
def test_nrrd_in_any_unit(unit: str, mm: float, labels: np.ndarray, tmp_path: Path) -> None:
    header = {
        "space dimension": 3,
        "space directions": AFFINE[:3, :3].T,
        "space origin": AFFINE[:3, 3],
        "space units": [unit] * 3,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), labels, header)
    found = io.read_labels(tmp_path / "a.nrrd")
    assert found.spacing == pytest.approx((0.9 * mm, 0.8 * mm, 2.5 * mm))
    np.testing.assert_allclose(found.affine[:3], mm * AFFINE[:3])
    io.write(tmp_path / "b.nrrd", labels, found)
    copy = nrrd.read_header(str(tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(copy["space directions"], AFFINE[:3, :3].T)
    assert copy["space units"] == [unit] * 3

    header = {"spacings": [1, 2, 3], "units": ["mm", unit, "mm"]}
    nrrd.write(str(tmp_path / "c.nrrd"), labels, header)
    assert io.read_labels(tmp_path / "c.nrrd").spacing == pytest.approx((1, 2 * mm, 3))


def test_a_missing_library_names_the_extra(tmp_path: Path) -> None:
    code = f"""
import sys
import tracemalloc
sys.modules["nibabel"] = None
from gfnoise.cli import main
sys.exit(main(["marginals", {str(tmp_path / "a.nii")!r}, "-o", "b.nii", "--amplitude", "1"]))
"""
    (tmp_path / "a.nii").touch()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a.nii needs nibabel: pip install 'gfnoise[io]'" in done.stderr
