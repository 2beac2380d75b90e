import pytest

from paha_core.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))
