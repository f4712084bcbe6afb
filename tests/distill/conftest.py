"""MMEngine formats the whole config with yapf at every checkpoint, most of a toy run's time."""

import pytest


@pytest.fixture(autouse=True)
def _unformatted_configs(monkeypatch):
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **options: (text, False))
