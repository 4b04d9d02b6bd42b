"""Single images: masks, dark currents, flat fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.context import Context
from friedel.core.errors import DataError, FileError, OutputError, ParameterError

from .frames import open_frames
from .handles import stamp_of
from .nexus import replacing
from .recognise import recognise, split_location

IMAGE_ENDINGS = (".edf", ".tif", ".tiff", ".cbf", ".npy")
"""Of the files that images can be written to."""


def read_image(path: str | Path, *, average: bool = False) -> NDArray[Any]:
    """Read one image.

    Parameters
    ----------
    path : path-like
        EDF, TIFF, CBF, numpy, Fit2D mask and whatever fabio knows, also compressed with gzip or bzip2; HDF5 as
        ``file.h5::/path/in/file``, or without a path where the file holds one image only.
    average : bool
        Whether several frames are averaged (dark currents, flat fields); otherwise they are an error.

    Returns
    -------
    ndarray, shape (rows, columns)
        As stored; float64 if averaged.

    Raises
    ------
    FileError
        If the file is missing, damaged or no image.
    DataError
        If it holds several frames and `average` is false.
    """
    text, _ = split_location(path)
    if recognise(text) == "numpy":
        frames = _read_numpy(text)
    else:
        source = open_frames(path)
        if source.n_frames > 1 and average:
            return _mean(source)
        frames = source.decoded(0, 1) if source.n_frames == 1 else np.empty(source.shape, source.dtype)
    if len(frames) > 1 and average:
        mean: NDArray[Any] = frames.mean(axis=0, dtype=np.float64)
        return mean
    if len(frames) != 1:
        raise DataError(f"{path} holds {len(frames)} frames, one image is needed.", "Choose one of them, or average.")
    image: NDArray[Any] = frames[0]
    return image


def _mean(source: Any) -> NDArray[Any]:
    total = np.zeros(source.frame_shape)
    for number in range(source.n_frames):
        total += source.decoded(number, number + 1)[0]
    mean: NDArray[Any] = total / source.n_frames
    return mean


def _read_numpy(path: str) -> NDArray[Any]:
    stamp_of(path)
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileError(path, f"is no numpy array that can be read ({error}).", "Copy the file again.") from None
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim != 3:
        raise FileError(path, f"holds an array of {array.ndim} dimensions.", "Give an image.")
    return array


def read_mask(path: str | Path) -> NDArray[np.bool_]:
    """Read a mask: True where the stored value is not 0 (or is NaN), which means excluded.

    Raises
    ------
    FileError, DataError
        As `read_image`.
    """
    image = read_image(path)
    mask: NDArray[np.bool_] = image != 0
    return mask


def write_image(path: str | Path, image: NDArray[Any], *, overwrite: bool = True) -> None:
    """Write one image as EDF, TIFF, CBF or numpy array, by the name's ending.

    Parameters
    ----------
    path : path-like
        ``.edf``, ``.tif``, ``.tiff``, ``.cbf`` (whole numbers of 32 bits) or ``.npy``.
    image : ndarray, shape (rows, columns)
        Booleans are written as 0 and 1.
    overwrite : bool
        Whether to replace a file at the path.

    Raises
    ------
    ParameterError
        If the ending is another one.
    OutputError
        If it cannot be written.
    """
    values = np.asarray(image)
    values = values.astype(np.uint8) if values.dtype == bool else values
    ending = Path(path).suffix.lower()
    if ending not in IMAGE_ENDINGS:
        raise ParameterError(f"Images cannot be written as {ending!r}.", "Choose .edf, .tif, .cbf or .npy.")
    if ending == ".cbf":
        values = _whole_numbers(path, values)
    with replacing(path, overwrite=overwrite) as temporary:
        if ending == ".npy":
            with Path(temporary).open("wb") as stream:
                np.save(stream, values, allow_pickle=False)
            return
        try:
            _fabio_image(ending, values).write(temporary)
        except (TypeError, ValueError, KeyError) as error:
            raise OutputError(path, f"{ending} cannot hold {values.dtype} ({error}).", "Convert it.") from None


def store_image(path: Path, image: NDArray[np.floating[Any]], context: Context, overwrite: bool) -> None:
    """Write an image; CBF has whole numbers, and -1 where there is no value, of which the user is told."""
    if path.suffix.lower() != ".cbf":
        write_image(path, image, overwrite=overwrite)
        return
    rounded = np.where(np.isfinite(image), np.rint(image), -1.0)
    if np.any(rounded[np.isfinite(image)] == -1) and not np.isfinite(image).all():
        raise OutputError(
            path, "counts of -1 and pixels without a value would be the same in CBF.", "Write EDF, TIFF, npy or HDF5."
        )
    limits = np.iinfo(np.int32)
    if rounded.min() < limits.min or rounded.max() > limits.max:
        raise OutputError(
            path,
            f"values reach {rounded.min():g} to {rounded.max():g}: CBF holds whole numbers of 32 bits.",
            "Write EDF, TIFF, npy or HDF5.",
        )
    if not np.array_equal(rounded, image):
        context.progress.message(f"{path}: CBF holds whole numbers: values are rounded, -1 where there is none.")
    write_image(path, rounded.astype(np.int32), overwrite=overwrite)


def _whole_numbers(path: str | Path, values: NDArray[Any]) -> NDArray[np.int32]:
    limits = np.iinfo(np.int32)
    if values.dtype.kind not in "iu" or values.min(initial=0) < limits.min or values.max(initial=0) > limits.max:
        raise OutputError(path, f".cbf cannot hold {values.dtype}: it holds whole numbers of 32 bits.", "Convert it.")
    return values.astype(np.int32)


def _fabio_image(ending: str, values: NDArray[Any]) -> Any:
    if ending == ".cbf":
        from fabio.cbfimage import CbfImage

        return CbfImage(data=values)
    if ending == ".edf":
        from fabio.edfimage import EdfImage

        return EdfImage(data=values)
    from fabio.tifimage import TifImage

    return TifImage(data=values)
