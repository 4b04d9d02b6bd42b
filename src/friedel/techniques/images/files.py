"""Files that the tasks on images read and write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.context import Context
from friedel.core.provenance import Provenance
from friedel.io import FrameSource
from friedel.io.frames import expand
from friedel.io.images import IMAGE_ENDINGS
from friedel.io.recognise import check_ending

from .tasks import FrameSeries

DESCRIBED_FILES = 100
"""Of longer lists of frame files, as many spread over the list are hashed for the record."""

Floats = NDArray[np.floating[Any]]


def is_image(output: str | None) -> bool:
    """Whether a result goes to image files, rather than to HDF5 or memory.

    Raises
    ------
    ParameterError
        If the name has the ending of neither.
    """
    check_ending(output, *IMAGE_ENDINGS)
    return output is not None and Path(output).suffix.lower() in IMAGE_ENDINGS


def image_inputs(parameters: FrameSeries, *others: str | None) -> list[str]:
    """Return the files of the images that a task reads beside the frames."""
    return [path.partition("::")[0] for path in (parameters.mask, parameters.dark, parameters.flat, *others) if path]


def all_inputs(parameters: FrameSeries, source: FrameSource, *others: str | None) -> list[str]:
    """Return every file that a task reads."""
    return [*image_inputs(parameters, *others), *(path for path, _ in expand(parameters.frames)), *source.files]


def record_of(context: Context, source: FrameSource, given: Sequence[str]) -> Provenance | None:
    """Return the record of this execution with the files that it reads; None if the context keeps no record."""
    if context.provenance is None:
        return None
    files = source.files
    if len(files) > DESCRIBED_FILES:
        files = tuple(files[int(number)] for number in np.linspace(0, len(files) - 1, DESCRIBED_FILES))
    record = context.provenance.with_inputs([*given, *files])
    return record.with_notes(frames=source.n_frames, frame_files=len(source.files), frame_files_hashed=len(files))
