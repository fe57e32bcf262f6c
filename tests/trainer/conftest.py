"""What the tests of the trainer share."""

import os
import secrets

from tests.conftest import TINY_SIZES
from trainer.families import conformer_ctc

# Ray reads these when it is imported; every cluster of the tests has this token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

TINY = {**conformer_ctc.CONFIGS["small"], **TINY_SIZES}
