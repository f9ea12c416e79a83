"""Every limit of the service is an environment variable; a wrong name or value is named, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsgmer.core.errors import ParamsError
from lsgmer.service.settings import PREFIX, ServiceSettings, as_environment, read_settings, table, workers_for


def test_defaults_and_values_from_the_environment():
    assert read_settings({"PATH": "/bin"}) == ServiceSettings()
    found = read_settings({f"{PREFIX}MAX_AUDIO_S": "30", f"{PREFIX}KEYS": "/etc/keys.json", f"{PREFIX}ABSTAIN": "true"})
    assert (found.max_audio_s, found.keys, found.abstain) == (30.0, Path("/etc/keys.json"), True)
    assert read_settings({f"{PREFIX}LOG": ""}).log is None


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("max_audio_s=0", "LSGMER_SERVICE_MAX_AUDIO_S: max_audio_s: Input should be greater than 0"),
        ("max_items=many", "LSGMER_SERVICE_MAX_ITEMS: .*valid integer"),
        ("max_audio=30", "LSGMER_SERVICE_MAX_AUDIO: .*known are max_upload_mib"),
        ("max_audio_s", "write NAME=VALUE"),
    ],
)
def test_what_is_wrong_is_named(assignment, reason):
    with pytest.raises(ParamsError, match=reason):
        as_environment([assignment])


def test_an_assignment_is_an_environment_variable():
    assert as_environment(["max_audio_s = 30", "log="]) == {f"{PREFIX}MAX_AUDIO_S": "30", f"{PREFIX}LOG": ""}


def test_the_table_has_every_setting_with_its_default():
    lines = table().splitlines()
    assert [line.split()[0] for line in lines] == list(ServiceSettings.model_fields)
    assert lines[0].split()[1] == "25.0"


@pytest.mark.parametrize(
    ("cores", "free_gib", "keeps_levels", "workers"),
    [
        (1, 64, False, 1),
        (2, 64, False, 1),
        (16, 64, False, 8),
        (64, 512, False, 8),
        (16, 5, False, 2),
        (16, 64, True, 1),
    ],
)
def test_workers_suit_the_machine(cores: int, free_gib: int, keeps_levels: bool, workers: int) -> None:
    assert workers_for(cores, free_gib * 2**30, keeps_levels) == workers
