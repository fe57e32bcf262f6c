"""What the tests of the trainer share."""

import os
import secrets

import pytest

from tests.conftest import TINY_SIZES
from trainer.families import conformer_ctc
from trainer.training import loop as finetune

# Ray reads these when it is imported; every cluster of the tests has this token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

TINY = {**conformer_ctc.CONFIGS["small"], **TINY_SIZES}


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tunes on one thread: the tensors of tiny models are too small for a second, which only waits."""
    if request.node.get_closest_marker("slow") is None:  # those run the real model
        monkeypatch.setattr(finetune, "default_threads", lambda: 1)
