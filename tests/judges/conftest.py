"""The official judge prompts, from the mirror of upstream's files."""

from __future__ import annotations

import pytest

from harness.data.store import DataStore
from tests.paths import MIRROR


@pytest.fixture
def data(tmp_path):
    return DataStore(MIRROR, tmp_path, True)
