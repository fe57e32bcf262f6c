"""Live audio: a session of `Transcriber.stream` for each connection, and its WebSocket."""
