"""The user's utterances: metadata in SQLite, audio in one FLAC file per utterance.

The store writes, syncs and renames the audio before the row; a deletion marks the row, removes the
audio, then the row. A kill at any moment therefore leaves a complete utterance, or a state that
`device_app.data.repair` recognises and repairs. A domain has each recording, by its bytes, only once.
"""

from device_app.data.store.store import Store

__all__ = ["Store"]
