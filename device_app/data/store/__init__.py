"""A person's utterances: SQLite for what is known of them, one FLAC file each for the sound.

Audio is written first, synced and renamed, then its row; a deletion marks the row, removes the
audio, then the row. So a kill at any moment leaves an utterance whole, or something that
`device_app.data.repair` can tell apart and mend. A domain holds a recording, by its bytes, once.
"""

from device_app.data.store.store import Store

__all__ = ["Store"]
