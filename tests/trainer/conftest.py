"""A conformer-ctc so small that it is exported, trained and heard with in seconds."""

import os
import secrets

import pytest

from trainer.families import conformer_ctc
from trainer.from_scratch import new_bundle

# Ray reads these when it is imported; every cluster of the tests has this token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

TINY = {
    **conformer_ctc.CONFIGS["small"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "subsampling_conv_channels": 16,
}
TEXTS = ["zero one two three four", "five six seven eight nine", "it's a quick brown fox that jumps over the lazy dog"]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(conformer_ctc.CONFIGS, "tiny", TINY)
        yield new_bundle(TEXTS, "tiny", tmp_path_factory.mktemp("tiny") / "bundle")
