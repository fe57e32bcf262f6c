"""What a process of tests has loaded before: sessions of ONNX Runtime, tokenizers, and the package's own recordings.

Loading the embedded model takes half a second, and hundreds of tests load it. Files with the same bytes give the same
session or tokenizer, both of which never change and may be used by several threads. What is checked before loading is
still checked each time, and a damaged file has other bytes, so its error is that of a user. Each fine-tuning decodes
the 139 recordings of the distillation set, which takes two seconds; nothing changes these files.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from device_app.audio.samples import Samples
from device_app.data.utterance import Utterance
from device_app.paths import ASSETS
from export.bundle import TOKENIZER, Bundle

LIMIT = 24  # of sessions and tokenizers in memory: many tests load an edited model that no other test loads


@contextmanager
def loaded_once() -> Iterator[None]:
    """Keeps what is loaded from files while this context is open."""
    kept: OrderedDict[Hashable, Any] = OrderedDict()
    load_session, load_tokenizer, read = onnxruntime.InferenceSession, Bundle.tokenizer, Utterance.read
    recordings: dict[Path, Samples] = {}

    def remembered(key: Hashable, load: Callable[[], Any]) -> Any:
        found = kept.pop(key, None)
        kept[key] = found = load() if found is None else found
        if len(kept) > LIMIT:
            kept.popitem(last=False)
        return found  # another thread may have removed it from `kept`

    def session(model: Any, sess_options: Any = None, **more: Any) -> Any:
        if sess_options is None or not isinstance(model, str) or not Path(model).is_file():
            return load_session(model, sess_options, **more)
        settings = (sess_options.intra_op_num_threads, sess_options.log_severity_level, str(more))
        return remembered(_content(Path(model)) + settings, lambda: load_session(model, sess_options, **more))

    def tokenizer(bundle: Bundle) -> Any:
        bundle.check(TOKENIZER)  # compares the file with this hash
        return remembered(bundle.files[TOKENIZER], lambda: load_tokenizer(bundle))

    def recording(utterance: Utterance, *arguments: Any) -> Samples:
        file = utterance.audio
        is_bundled = isinstance(file, Path) and ASSETS in file.parents
        if file is None or not is_bundled or utterance.samples is not None or not utterance.is_whole:
            return read(utterance, *arguments)
        if file not in recordings:
            recordings[file] = read(utterance, *arguments)
        return recordings[file].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Utterance, "read", recording)
        patch.setattr(onnxruntime, "InferenceSession", session)
        patch.setattr(Bundle, "tokenizer", tokenizer)
        yield


def _content(path: Path) -> tuple[int, ...]:
    data = path.read_bytes()
    return len(data), zlib.crc32(data), zlib.adler32(data)
