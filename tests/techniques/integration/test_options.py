"""Every option is listed in its group, by name for users, and among the parameters of tasks: the lists agree."""

from dataclasses import fields

import pytest

from friedel.techniques.integration.options import GROUPS, MapOptions, names_of
from friedel.techniques.integration.tasks import Integrate1D, Integrate2D, IntegrateRadial

NOT_OF_TASKS = {
    "azimuthal",  # told by the task
    "dark_variance",  # from dark_frames
    "keep_sums",  # told by the format
}


def test_the_names_are_those_of_the_groups():
    grouped = [name for group in GROUPS for name in names_of(group)]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(MapOptions.__annotations__)


def test_tasks_have_every_option():
    offered = set(Integrate1D.model_fields) | set(Integrate2D.model_fields) | set(IntegrateRadial.model_fields)
    assert set(MapOptions.__annotations__) - offered == NOT_OF_TASKS


@pytest.mark.parametrize("group", GROUPS)
def test_defaults_of_tasks_are_those_of_the_groups(group):
    other = {"estimator", "mask", "empty", "absorber", "npt_azimuth"}  # told in another form
    defaults = {field.name: field.default for field in fields(group) if field.name not in other}
    for name, default in defaults.items():
        if name in Integrate2D.model_fields:
            assert Integrate2D.model_fields[name].default == default, name
