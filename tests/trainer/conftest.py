"""Shared by the tests of the trainer."""

import os
import secrets

import pytest

from tests.conftest import TINY_SIZES
from trainer.families import conformer_ctc
from trainer.training import loop

# Ray reads these when it is imported; every cluster of the tests has this token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

TINY = {**conformer_ctc.CONFIGS["small"], **TINY_SIZES}


@pytest.fixture(scope="session", autouse=True)
def _exported_graphs(exported_graphs: None) -> None:
    """No test of the trainer waits for an export that has been made before."""


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tunes on one thread, because the tensors of tiny models are too small for a second one."""
    if request.node.get_closest_marker("slow") is None:  # slow tests run the real model
        monkeypatch.setattr(loop, "default_threads", lambda: 1)
