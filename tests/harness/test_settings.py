import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.settings import Settings, cache_dir


def test_without_variables_files_are_fetched_into_the_home_cache():
    assert Settings.from_env({"HOME": "/home/ada"}) == Settings(None, Path("/home/ada/.cache/assay"), False)


def test_every_variable_is_read():
    environ = {"ASSAY_DATA": "/mirror", "ASSAY_CACHE": "/fast", "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": "/xdg"}
    assert Settings.from_env(environ) == Settings(Path("/mirror"), Path("/fast"), True)


def test_the_xdg_cache_is_used_unless_its_path_is_relative():
    assert Settings.from_env({"XDG_CACHE_HOME": "/xdg", "HOME": "/h"}).cache_dir == Path("/xdg/assay")
    assert Settings.from_env({"XDG_CACHE_HOME": "xdg", "HOME": "/h"}).cache_dir == Path("/h/.cache/assay")


def test_an_empty_variable_counts_as_not_set():
    environ = {"ASSAY_DATA": "", "ASSAY_CACHE": "", "XDG_CACHE_HOME": "", "HF_HUB_OFFLINE": "", "HOME": "/h"}
    assert Settings.from_env(environ) == Settings(None, Path("/h/.cache/assay"), False)


def test_a_tilde_is_expanded():
    settings = Settings.from_env({"ASSAY_DATA": "~/mirror", "ASSAY_CACHE": "~/cache"})
    assert settings.data_dir == Path.home() / "mirror"
    assert settings.cache_dir == Path.home() / "cache"


@pytest.mark.parametrize(
    ("value", "offline"),
    [("1", True), ("true", True), ("TRUE", True), ("Yes", True), ("on", True), ("0", False), ("false", False)],
)
def test_hub_offline_takes_for_true_what_the_hub_library_takes(value, offline):
    assert Settings.from_env({"HF_HUB_OFFLINE": value, "HOME": "/h"}).hub_offline is offline
    assert Settings.from_env({"TRANSFORMERS_OFFLINE": value, "HOME": "/h"}).hub_offline is offline


def test_hub_offline_agrees_with_huggingface_hub():
    from huggingface_hub.constants import _is_true

    for value in ("1", "0", "true", "TRUE", "yes", "on", "off", "no", "2", "y"):
        assert Settings.from_env({"HF_HUB_OFFLINE": value, "HOME": "/h"}).hub_offline is _is_true(value)


def test_no_home_directory_is_an_error_with_advice(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UsageError, match="ASSAY_CACHE"):
        Settings.from_env({})
    assert Settings.from_env({"ASSAY_CACHE": "/fast"}).cache_dir == Path("/fast")


def test_cache_dir_reads_the_process_environment(monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")


def test_settings_import_nothing_heavy():
    heavy = "{'pooch', 'requests', 'huggingface_hub', 'numpy', 'pydantic', 'rich', 'yaml'}"
    code = f"import harness.settings, harness.commands.data, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"
