"""What is refined: named parameters, and the geometry of each image that follows from them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.instrument import Detector, Geometry
from friedel.instrument.derivatives import FIELDS

_Array = NDArray[np.float64]

ALIASES = {"dist": "distance"}
NOT_BY_DEFAULT = ("rot3", "wavelength")
USUAL = tuple(name for name in FIELDS if name not in NOT_BY_DEFAULT)
"""Numbers of a geometry that are refined unless something else is asked for."""
PLAUSIBLE_PART = 0.1
"""A number of the geometry is not determined if its standard error is larger than this part of the distance (lengths),
of a radian (rotations), of the wavelength."""

DIFFERENCE = 1e-4


class GeometryModel(ABC):
    """Named parameters from which the geometries of some images follow.

    Attributes
    ----------
    names : tuple of str
        Parameters.
    start : ndarray of float64 (n_parameters,)
        Their values before refinement, in SI units (or those of motors).
    templates : tuple of Geometry
        One for each image: detector, parallax, and the numbers that no parameter changes.
    """

    names: tuple[str, ...]
    start: _Array
    templates: tuple[Geometry, ...]

    @abstractmethod
    def fields(self, values: _Array) -> _Array:
        """Return the numbers of each geometry, (n_images, 7) in the order of `FIELDS`; NaN keeps the template's."""

    def derivatives(self, values: _Array) -> _Array:
        """Return ∂fields/∂parameters, (n_images, 7, n_parameters): differences, unless a model knows better."""
        columns = []
        for number, scale in enumerate(np.maximum(np.abs(values), 1e-2)):
            step = np.zeros_like(values)
            step[number] = DIFFERENCE * scale
            columns.append((self.fields(values + step) - self.fields(values - step)) / (2.0 * step[number]))
        found = np.stack(columns, axis=-1)
        return np.asarray(np.where(np.isfinite(found), found, 0.0))

    def geometries(self, values: _Array) -> tuple[Geometry, ...]:
        """Return the geometry of each image."""
        rows = self.fields(np.asarray(values, np.float64))
        return tuple(replace(template, **_known(row)) for template, row in zip(self.templates, rows, strict=True))

    @property
    def default_free(self) -> tuple[str, ...]:
        """Parameters that are refined unless something else is asked for."""
        return self.names

    def with_start(self, values: _Array) -> GeometryModel:
        """Return the model with other start values."""
        # Models are frozen, and what makes them would derive the start anew: this is a copy with one thing changed.
        other = object.__new__(type(self))
        other.__dict__.update({**self.__dict__, "start": np.asarray(values, np.float64)})
        return other

    def with_detector(self, detector: Detector) -> GeometryModel:
        """Return the model with another detector for all images."""
        other = object.__new__(type(self))
        templates = tuple(replace(template, detector=detector) for template in self.templates)
        other.__dict__.update({**self.__dict__, "templates": templates})
        return other

    def scales(self, values: _Array) -> _Array:
        """Return how far each parameter could plausibly be off, (n_parameters,), see `PLAUSIBLE_PART`."""
        rows = self.fields(values)
        distance = np.abs(rows[:, :1])
        plausible = PLAUSIBLE_PART * np.concatenate(
            [np.repeat(distance, 3, axis=1), np.ones((len(rows), 3)), np.nan_to_num(np.abs(rows[:, 6:]), nan=1.0)],
            axis=1,
        )
        effect = np.abs(self.derivatives(values) / plausible[:, :, None]).max(axis=(0, 1))
        return np.asarray(1.0 / np.where(effect > 0, effect, 1.0))

    def expand(self, given: Sequence[str]) -> tuple[str, ...]:
        """Return the parameters that are meant: names, aliases (dist), or a name that several images have each.

        Several may stand in one text, with commas between them.

        Raises
        ------
        ParameterError
            If there is no such parameter.
        """
        found: list[str] = []
        for asked in (part.strip() for text in given for part in text.split(",")):
            name = ALIASES.get(asked, asked)
            meant = [own for own in self.names if own == name or own.split("[")[0] == name]
            if not meant:
                raise ParameterError(f"There is no parameter {asked!r}.", f"Parameters: {', '.join(self.names)}.")
            found += [own for own in meant if own not in found]
        return tuple(found)


@dataclass(frozen=True)
class ImagesModel(GeometryModel):
    """Images that share some numbers of the geometry and have others of their own.

    A number that all share is one parameter, like ``distance``; one that each has is ``distance[0]``,
    ``distance[1]`` and so on, by the number of the image.

    Attributes
    ----------
    templates : tuple of Geometry
        Start of each image. Where they share a number, the first one's counts.
    own : tuple of str
        Numbers that each image has for itself.
    """

    templates: tuple[Geometry, ...]
    own: tuple[str, ...] = ()
    names: tuple[str, ...] = field(init=False)
    start: _Array = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not self.templates:
            raise ParameterError("There is no geometry to refine.", "Give one for each image.")
        own = {ALIASES.get(name, name) for name in self.own}
        unknown = sorted(own - set(FIELDS))
        if unknown:
            raise ParameterError(f"A geometry has no {', '.join(unknown)}.", f"It has {', '.join(FIELDS)}.")
        own = own if len(self.templates) > 1 else set()
        names, start = [], []
        for name in FIELDS:
            for number, template in enumerate(self.templates if name in own else self.templates[:1]):
                value = getattr(template, name)
                if value is not None:
                    names.append(f"{name}[{number}]" if name in own else name)
                    start.append(value)
        object.__setattr__(self, "own", tuple(name for name in FIELDS if name in own))
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "start", np.array(start, np.float64))

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        """Return which parameter each number of each image is, (n_images, 7); −1 for none."""
        known = {name: number for number, name in enumerate(self.names)}
        return np.array(
            [
                [known.get(name, known.get(f"{name}[{image}]", -1)) for name in FIELDS]
                for image in range(len(self.templates))
            ]
        )

    def fields(self, values: _Array) -> _Array:
        """Return the numbers of each geometry."""
        return np.asarray(np.where(self._places >= 0, values[self._places], np.nan))

    def derivatives(self, values: _Array) -> _Array:
        """Return 1 where a number of an image is a parameter."""
        return np.asarray(self._places[:, :, None] == np.arange(len(self.names)), np.float64)

    @property
    def default_free(self) -> tuple[str, ...]:
        """All but rot3, on which no ring depends, and the wavelength."""
        return tuple(name for name in self.names if name.split("[")[0] not in NOT_BY_DEFAULT)


def _known(row: _Array) -> dict[str, Any]:
    return {name: float(value) for name, value in zip(FIELDS, row, strict=True) if not math.isnan(value)}
