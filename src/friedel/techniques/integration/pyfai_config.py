"""The configuration of a pyFAI worker (JSON, versions 0 to 5) or of its diffraction maps as the parameters of a task.

Every key is turned into a parameter, told about, or refused by name: none that would change the numbers is passed over
in silence. What the user gives explicitly wins, and what it replaces is not looked at. The meaning of the keys is that
of pyFAI 2026.9 (``pyFAI.io.integration_config``, ``pyFAI.worker``), with those of older versions as they were meant.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from friedel.core.errors import FileError, ParameterError
from friedel.instrument.worker_geometry import near, worker_of

NEWEST = 5
RENAMED = {
    "azimuthal_range_min": "azimuth_range_min",
    "azimuthal_range_max": "azimuth_range_max",
    "do_azimuthal_range": "do_azimuth_range",
    "flat_field_image": "flat_field",
    "dark_current_image": "dark_current",
    "mask_image": "mask_file",
    "dummy": "val_dummy",
    "integrator_name": "integrator_method",
    "do_solid_angle": "correct_solid_angle",
}
"""Keys of older versions, and what they are called now."""
SWITCHES = {
    "do_mask": ("mask_file",),
    "do_dark": ("dark_current",),
    "do_flat": ("flat_field",),
    "do_polarization": ("polarization_factor", "polarization_description"),
    "do_dummy": ("val_dummy", "delta_dummy"),
    "do_radial_range": ("radial_range", "radial_range_min", "radial_range_max"),
    "do_azimuth_range": ("azimuth_range", "azimuth_range_min", "azimuth_range_max"),
}
"""A switch that is off (up to version 4) turns off these keys."""
GEOMETRY = (
    "poni", "poni_version", "dist", "poni1", "poni2", "rot1", "rot2", "rot3", "wavelength", "parallax", "detector",
    "detector_config", "pixel1", "pixel2", "splineFile", "splinefile", "shape",
)  # fmt: skip
"""Read from the same file by `friedel.Geometry.load`."""
WITHOUT_EFFECT = ("application", "version", "opencl_device", "do_OpenCL", "do_2D", "integrator_class")
SPLITTINGS = {"no": "none", "nosplit": "none", "bbox": "bbox", "pseudo": "pseudo", "full": "full"}
ERROR_MODELS = ("none", "variance", "poisson", "azimuthal", "hybrid")
ANY = (None, "", "*", "any", "all")


@dataclass
class _Migration:
    """What has been made of a configuration so far."""

    path: str
    config: dict[str, Any]
    given: Mapping[str, Any]
    known: Collection[str]
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, key: str) -> Any:
        """Return the value of a key, which is then done with."""
        return self.config.pop(key, None)

    def wants(self, *names: str) -> bool:
        """Whether the user has left one of these parameters to the configuration."""
        return any(name not in self.given for name in names)

    def put(self, name: str, value: Any, key: str) -> None:
        """Set a parameter, unless the user has.

        Raises
        ------
        ParameterError
            If the task has no such parameter.
        """
        if name in self.given:
            return
        if name not in self.known:
            raise self.refusal(key, value, "this task has no such option", "Choose another task, or remove the key.")
        self.values[name] = value

    def refusal(self, key: str, value: Any, why: str, remedy: str) -> ParameterError:
        """Return the refusal of a key."""
        return ParameterError(f"{self.path}: {key} is {json.dumps(value, default=str)}: {why}.", remedy)


@dataclass(frozen=True)
class Migrated:
    """Parameters that a configuration stands for.

    Attributes
    ----------
    values : dict
        Parameters of the task by name; those that the user gave are not among them.
    notes : tuple of str
        What the user should know.
    """

    values: dict[str, Any]
    notes: tuple[str, ...]


def parameters_of(path: str | Path, given: Mapping[str, Any], known: Collection[str]) -> Migrated:
    """Turn the configuration of a pyFAI worker into parameters.

    Parameters
    ----------
    path : path-like
        JSON file, as ``pyFAI-integrate`` and ``Worker.save_config`` write it.
    given : mapping
        Parameters that the user gave.
    known : collection of str
        Names of the parameters of the task.

    Raises
    ------
    FileError
        If it cannot be read.
    ParameterError
        If a key has a value that cannot be honoured; the message names both.
    """
    whole = _read(str(path))
    migration = _Migration(str(path), _worker(str(path), whole), given, known)
    if isinstance(whole.get("ai"), Mapping):
        _map(migration, whole)
    _geometry(migration)
    fibre = migration.config.get("integrator_class") == "FiberIntegrator" or "npt_ip" in migration.config
    (_fibre_bins if fibre else _bins)(migration)
    _splitting(migration)
    _corrections(migration)
    _validity(migration)
    _averaging(migration)
    for key in WITHOUT_EFFECT:
        migration.take(key)
    # pyFAI does not know these keys either and passes over them.
    migration.notes += [f"{path}: {key} is no key of a worker, and has no effect." for key in migration.config]
    return Migrated(migration.values, tuple(migration.notes))


def _read(path: str) -> Mapping[str, Any]:
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "Check the path.") from None
    except ValueError as error:
        raise FileError(path, f"is not JSON: {error}.", "Give the file that pyFAI-integrate saved.") from None
    if not isinstance(config, Mapping) or not config:
        raise FileError(path, "holds no table of parameters.", "Give the file that pyFAI-integrate saved.")
    return config


def _worker(path: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys of the worker their present names."""
    config = dict(worker_of(whole))
    version = config.get("version") or 0
    if not isinstance(version, int) or version > NEWEST:
        raise ParameterError(
            f"{path}: version is {version!r}; friedel reads the configurations 0 to {NEWEST} of pyFAI.",
            "Save it with an older pyFAI, or use a newer friedel.",
        )
    for old, new in RENAMED.items():
        if old in config:
            value = config.pop(old)
            config.setdefault(new, value)
    for switch, keys in SWITCHES.items():
        if config.pop(switch, True) is False:
            for key in keys:
                config.pop(key, None)
    return config


def _map(migration: _Migration, whole: Mapping[str, Any]) -> None:
    """Take the scan of a diffraction map: its grid, the frames and the file to write."""
    keys = ("ai", "diffmap_config_version", "experiment_title")
    scan = {key: value for key, value in whole.items() if key not in keys}
    for old, key in (("npt_rad", "nbpt_rad"), ("npt_azim", "nbpt_azim")):
        count = scan.pop(old, None)
        if count:
            migration.config.setdefault(key, count)
    frames = [item.get("path") if isinstance(item, Mapping) else item[0] for item in scan.pop("input_data", None) or ()]
    if frames and "frames" not in migration.given:
        migration.put("frames", tuple(str(near(str(path), migration.path)) for path in frames), "input_data")
    if "snake" not in migration.known:
        migration.notes.append(f"{migration.path}: it describes a map, which friedel diffraction-map makes.")
        return
    slow, fast = (_motor(scan, name) for name in ("slow", "fast"))
    lines, points = int(slow.get("points") or 0), int(fast.get("points") or 0)
    if lines and points:
        migration.put("shape", (lines, points), "slow_motor")
        for name, motor in (("slow_range", slow), ("fast_range", fast)):
            if motor.get("start") is not None and motor.get("stop") is not None:
                migration.put(name, (float(motor["start"]), float(motor["stop"])), name.replace("range", "motor"))
    migration.put("snake", bool(scan.pop("zigzag_scan", False)), "zigzag_scan")
    offset = int(scan.pop("offset", 0) or 0)
    if offset:
        migration.put("frame_range", f"{offset}:{offset + lines * points if lines and points else ''}", "offset")
    output = scan.pop("output_file", None)
    if output:
        migration.put("output", str(output), "output_file")
    migration.notes += [f"{migration.path}: {key} is no key of a map, and has no effect." for key in scan]


def _motor(scan: dict[str, Any], name: str) -> dict[str, Any]:
    """Take a motor, as a table or (without a version) as single keys."""
    motor = dict(scan.pop(f"{name}_motor", None) or {})
    for key in (f"nbpt_{name}", f"npt_{name}", f"{name}_motor_points"):
        count = scan.pop(key, None)
        motor["points"] = motor.get("points") or count
    motor.setdefault("name", scan.pop(f"{name}_motor_name", None))
    limits = scan.pop(f"{name}_motor_range", None)
    if limits:
        motor.setdefault("start", limits[0])
        motor.setdefault("stop", limits[-1])
    return motor


def _geometry(migration: _Migration) -> None:
    poni = migration.config.get("poni")
    alone = isinstance(poni, str) and not any(migration.config.get(key) for key in GEOMETRY[2:])
    place = str(near(poni.strip(), migration.path)) if isinstance(poni, str) and alone else migration.path
    migration.put("geometry", place, "poni")
    for key in GEOMETRY:
        migration.take(key)


# ---- bins


def _bins(migration: _Migration) -> None:
    npt, npt_azimuth, unit = (migration.take(key) for key in ("nbpt_rad", "nbpt_azim", "unit"))
    cake = npt_azimuth is not None and int(npt_azimuth) > 1 and migration.config.get("do_2D") is not False
    if npt is not None:
        migration.put("npt", int(npt), "nbpt_rad")
    if cake and "npt_azimuth" in migration.known:
        migration.put("npt_azimuth", int(npt_azimuth), "nbpt_azim")
    elif cake:
        migration.notes.append(
            f"{migration.path}: nbpt_azim is {npt_azimuth}, which asks for a cake: friedel integrate2d makes it."
        )
    migration.put("unit", _unit_name(unit), "unit")
    for name, key in (("radial_range", "radial_range"), ("azimuth_range", "azimuth_range")):
        _range(migration, name, key)
    at_zero = migration.take("chi_discontinuity_at_0")
    if at_zero and "discontinuity" in migration.known:
        migration.put("discontinuity", "0", "chi_discontinuity_at_0")


def _unit_name(unit: Any) -> str:
    """Return the name of a unit; pyFAI's own default is degrees 2theta."""
    if isinstance(unit, (list, tuple)) and unit:
        unit = unit[0]
    if isinstance(unit, Mapping):
        unit = unit.get("name") or unit.get("unit")
    return str(unit) if unit else "2th_deg"


def _range(migration: _Migration, name: str, key: str) -> None:
    """Take a range given as two numbers, or by its ends."""
    whole = migration.take(key)
    low, high = whole if whole else (migration.take(f"{key}_min"), migration.take(f"{key}_max"))
    for end in ("min", "max"):
        migration.take(f"{key}_{end}")
    finite = [value is not None and math.isfinite(float(value)) for value in (low, high)]
    if all(finite):
        migration.put(name, (float(low), float(high)), key)
    elif any(finite) and migration.wants(name):
        raise migration.refusal(key, [low, high], "one end is missing", f"Give both, or --{name.replace('_', '-')}.")


def _fibre_bins(migration: _Migration) -> None:
    """Take the bins of a fibre or grazing-incidence configuration: in-plane and out-of-plane are two units."""
    for key in ("nbpt_rad", "nbpt_azim", "unit", "radial_range", "azimuth_range", "chi_discontinuity_at_0"):
        migration.take(key)
    alone, vertical = migration.take("integration_1d"), migration.take("vertical_integration")
    # A profile along one axis is the sum over a range of the other.
    first, second = ("oop", "ip") if alone and vertical is not False else ("ip", "oop")
    npt = {axis: migration.take(f"npt_{axis}") for axis in ("ip", "oop")}
    units = {axis: migration.take(f"unit_{axis}") for axis in ("ip", "oop")}
    migration.put("npt", int(npt[first] or 1000), f"npt_{first}")
    if not alone and "npt_azimuth" in migration.known:
        migration.put("npt_azimuth", int(npt[second] or 1000), f"npt_{second}")
    elif not alone:
        migration.notes.append(f"{migration.path}: integration_1d is false: friedel integrate2d makes the map.")
    default = {"ip": "qip_nm^-1", "oop": "qoop_nm^-1"}
    for name, axis in (("unit", first), ("azimuth_unit", second)):
        migration.put(name, _unit_name(units[axis] or default[axis]), f"unit_{axis}")
    shared = next((unit for unit in units.values() if isinstance(unit, Mapping)), {})
    for name, key in (("incidence", "incident_angle"), ("tilt", "tilt_angle")):
        migration.put(name, math.degrees(float(shared.get(key) or 0.0)), f"unit_ip.{key}")
    turned = float(shared.get("incident_angle") or 0.0) != 0.0 or float(shared.get("tilt_angle") or 0.0) != 0.0
    if turned and any(str(_unit_name(unit or "")).startswith("exit_angle") for unit in units.values()):
        migration.notes.append(
            f"{migration.path}: pyFAI turns the sample the other way for exit angles than for scattering vectors: here "
            "the reflected beam leaves at the angle of incidence."
        )
    migration.put("sample_orientation", int(shared.get("sample_orientation") or 1), "unit_ip.sample_orientation")
    _range(migration, "radial_range", f"{first}_range")
    _range(migration, "azimuth_range", f"{second}_range")


def _splitting(migration: _Migration) -> None:
    """Take the splitting out of the method; the algorithm and where it runs do not change the numbers."""
    method = migration.take("method")
    split, algorithm, implementation = _method_words(method)
    if split in ANY:
        split = "bbox" if algorithm == "lut" else "no"
    if split not in SPLITTINGS:
        raise migration.refusal("method", method, f"there is no splitting {split!r}", "Give --splitting.")
    if implementation == "python" and algorithm in ("histogram", "lut") and split != "no":
        migration.notes.append(f"{migration.path}: pyFAI does not split pixels with the method {method}.")
        split = "no"
    if split == "pseudo" and "npt_azimuth" not in migration.known:
        split = "bbox"  # as pyFAI does for patterns
    if (
        split == "no"
        and algorithm in (None, "histogram")
        and "radial_range" not in {*migration.values, *migration.given}
    ):
        migration.notes.append(
            f"{migration.path}: pyFAI's histogram takes the range of all pixels, masked ones too; friedel that of the "
            "pixels that take part. Give --radial-range for the same bins."
        )
    migration.put("splitting", SPLITTINGS[split], "method")


def _method_words(method: Any) -> tuple[Any, Any, Any]:
    """Return splitting, algorithm and implementation of a method as any version writes it."""
    if method is None:
        return "bbox", "histogram", "cython"  # as pyFAI reads version 1
    if isinstance(method, str):
        words = method.lower()
        split = next((word for word in ("bbox", "full") if word in words), "no" if "no" in words else None)
        algorithm = next((word for word in ("lut", "csr") if word in words), None)
        return split, algorithm, "python" if words in ("numpy", "python") else None
    if isinstance(method, Mapping):
        parts = [method.get("split"), method.get("algo"), method.get("impl")]
    else:
        parts = list(method)[1:4] if len(method) > 3 else list(method)
    aliases = {"histo": "histogram", "numpy": "python", "nosplit": "no"}
    words3 = [None if part in ANY else str(part).strip().lower() for part in (*parts, None, None, None)[:3]]
    split, algorithm, implementation = (aliases.get(word, word) if word else None for word in words3)
    return split, algorithm, implementation


# ---- corrections


def _corrections(migration: _Migration) -> None:
    solid_angle = migration.take("correct_solid_angle")
    migration.put("solid_angle", solid_angle is None or bool(solid_angle), "correct_solid_angle")
    _polarization(migration)
    for name, key in (("dark", "dark_current"), ("flat", "flat_field")):
        files = _files(migration, key, name)
        if files:
            migration.put(name, files, key)
    factor = migration.take("normalization_factor")
    if factor is not None and float(factor) != 1.0:
        migration.put("normalization_factor", float(factor), "normalization_factor")
    monitor = migration.take("monitor_name")
    if monitor:
        # The header of an EDF file has counter_mne and counter_pos: pyFAI names "counter/monitor" what we call monitor.
        text = str(monitor)
        short = text.partition("/")[2] if text.startswith(("counter/", "motor/")) else text
        migration.put("monitor", short, "monitor_name")


def _polarization(migration: _Migration) -> None:
    description, factor, offset = (
        migration.take(key) for key in ("polarization_description", "polarization_factor", "polarization_offset")
    )
    if description is None and factor is not None:
        description = factor if isinstance(factor, (list, tuple)) else (factor, offset or 0.0)
    if description is None:
        return
    if isinstance(description, Mapping):
        description = (description.get("polarization_factor"), description.get("axis_offset", 0.0))
    factor, offset = (*description, 0.0)[:2]
    if factor is None:
        return
    migration.put("polarization", float(factor), "polarization_description")
    if offset:
        migration.put("polarization_axis", math.degrees(float(offset)), "polarization_description")
        if migration.wants("polarization_axis"):
            migration.notes.append(
                f"{migration.path}: the polarization is turned by {math.degrees(float(offset)):g} degrees as "
                "polarization_description says; pyFAI's worker leaves that out."
            )


def _files(migration: _Migration, key: str, name: str) -> tuple[str, ...]:
    """Return the files of a key: one, several, or several with commas between (version 1)."""
    value = migration.take(key)
    if value is None or value == "" or not migration.wants(name):
        return ()
    if isinstance(value, str):
        value = [value] if Path(value).exists() else value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise migration.refusal(key, value, "it names no file", f"Give --{name}.")
    return tuple(_location(migration, key, item.strip(), name) for item in value if item.strip())


def _location(migration: _Migration, key: str, text: str, name: str) -> str:
    """Return the place of an image as friedel writes it: ``file`` or ``file::/path/in/file``."""
    inner = ""
    if text.startswith(("silx:", "fabio:")):
        parts = urlsplit(text)
        query = parse_qs(parts.query)
        if query.get("slice"):
            raise migration.refusal(key, text, "it names one of several images", f"Save that image, and give --{name}.")
        inner = query.get("path", [""])[0]
        text = unquote(parts.netloc + parts.path)
    if "::" in text:
        text, _, inner = text.partition("::")
    place = str(near(text, migration.path))
    return f"{place}::{inner}" if inner else place


# ---- which values are no measurement, and what is made of the others


def _validity(migration: _Migration) -> None:
    mask = _files(migration, "mask_file", "mask")
    dummy, delta = migration.take("val_dummy"), migration.take("delta_dummy")
    marked = dummy is not None and math.isfinite(float(dummy))
    if marked:
        migration.put("dummy", float(dummy), "val_dummy")
        migration.put("delta_dummy", float(delta or 0.0), "delta_dummy")
    if "empty" in migration.known:  # of tasks that write patterns; others need to know which bins are empty
        migration.put("empty", float(dummy) if marked else 0.0, "val_dummy")
    if not mask:
        return
    migration.put("mask", mask, "mask_file")
    # In pyFAI a mask replaces the gaps of the detector, not its value for invalid pixels.
    migration.put("detector_mask", False, "mask_file")
    if not marked and migration.wants("dummy"):
        from friedel.instrument import Geometry

        detector = Geometry.load(migration.given.get("geometry", migration.values.get("geometry"))).detector
        if detector.dummy is not None:
            migration.put("dummy", detector.dummy, "val_dummy")
            migration.put("delta_dummy", detector.delta_dummy, "delta_dummy")


def _averaging(migration: _Migration) -> None:
    extra = dict(migration.take("extra_options") or {})
    name = str(migration.take("integrator_method") or "integrate")
    robust = _estimator(migration, name, extra)
    told = extra.pop("error_model", None)
    model = _error_model(migration, migration.take("error_model") or told)
    if migration.take("do_poisson"):
        model = "poisson"
    if model == "none" and robust == "sigma-clip":
        model = "poisson"  # as pyFAI's sigma_clip does without a model
    estimator = str(migration.given.get("estimator", robust)).replace("_", "-")
    if model == "hybrid" and estimator != "sigma-clip":
        migration.notes.append(f"{migration.path}: error_model is hybrid: poisson, for nothing is clipped.")
        model = "poisson"
    if model == "variance" and migration.wants("error_model"):
        raise migration.refusal("error_model", "variance", "there is no variance", "Give --error-model.")
    migration.put("error_model", model, "error_model")
    if model in ("poisson", "hybrid"):
        migration.put("negative", "keep", "error_model")
    for key, value in extra.items():
        if value not in (None, ""):
            raise migration.refusal(f"extra_options.{key}", value, "it is not supported", "Remove it.")


def _error_model(migration: _Migration, value: Any) -> str:
    """Return an error model by name, its beginning, or its number in pyFAI."""
    if value is None or value is False or value == "":
        return "none"
    if isinstance(value, int) and 0 <= value < len(ERROR_MODELS):
        return ERROR_MODELS[value]
    text = str(value).lower()
    if "none".startswith(text) or text == "no":
        return "none"
    found = next((model for model in ERROR_MODELS if model.startswith(text)), None)
    if found is None:
        raise migration.refusal("error_model", value, "there is no such model", "Give --error-model.")
    return found


def _estimator(migration: _Migration, name: str, extra: dict[str, Any]) -> str:
    """Take the integrator's name and what belongs to it; return the estimator."""
    plain = name.removesuffix("_ng").removesuffix("_legacy").removesuffix("1d").removesuffix("2d").rstrip("_")
    if plain in ("integrate", "integrate1d_grazing_incidence", "integrate2d_grazing_incidence", "None"):
        return "mean"
    if plain.endswith(("grazing_incidence", "fiber")):
        return "mean"
    if plain == "sigma_clip":
        migration.put("estimator", "sigma-clip", "integrator_method")
        threshold = [extra.pop(key) for key in ("thres", "thresh") if key in extra]
        iterations = int(extra.pop("max_iter", 5))
        if _chosen(migration, "sigma-clip"):
            migration.put(
                "clip_threshold", _threshold(migration, threshold[0] if threshold else 5.0), "extra_options.thres"
            )
            migration.put("clip_iterations", iterations, "extra_options.max_iter")
        return "sigma-clip"
    if plain == "medfilt":
        migration.put("estimator", "percentile", "integrator_method")
        percentile = extra.pop("percentile", 50)
        pair = percentile if isinstance(percentile, (list, tuple)) else (percentile, percentile)
        if _chosen(migration, "percentile"):
            migration.put("percentile", tuple(float(value) for value in pair), "extra_options.percentile")
        return "percentile"
    raise migration.refusal(
        "integrator_method", name, "it has no counterpart here", "Use integrate1d, sigma_clip_ng or medfilt1d_ng."
    )


def _chosen(migration: _Migration, estimator: str) -> bool:
    """Whether the estimator of the configuration is used: the user has not given another one."""
    return str(migration.given.get("estimator", estimator)).replace("_", "-") == estimator


def _threshold(migration: _Migration, value: Any) -> float:
    """Return the threshold of clipping: below 1 it means Chauvenet's alone, which is above 1 from 5 pixels on."""
    if float(value) < 1.0:
        migration.notes.append(
            f"{migration.path}: extra_options.thres is {value}: bins of fewer than 5 pixels are clipped at 1 spread."
        )
    return max(float(value), 1.0)
