"""Sends a 16-bit mono WAV file to asr-edge as live audio, and prints the texts: python live.py FILE.wav [URL]"""

import json
import sys
import threading
import wave

from websockets.sync.client import connect

address = sys.argv[2] if len(sys.argv) > 2 else "ws://127.0.0.1:8765/v1/audio/live"


def send(socket, audio):
    while block := audio.readframes(1600):
        socket.send(block)
    socket.send('{"type": "finish"}')


with wave.open(sys.argv[1]) as audio:
    if (audio.getsampwidth(), audio.getnchannels()) != (2, 1):
        sys.exit(f"{sys.argv[1]}: must have 16 bits a sample and one channel")
with wave.open(sys.argv[1]) as audio, connect(f"{address}?sample_rate={audio.getframerate()}") as socket:
    threading.Thread(target=send, args=(socket, audio)).start()
    for message in map(json.loads, socket):
        if message["type"] == "partial":
            print(f"... {message['text']}")
        elif message["type"] == "final":
            print(message["text"])
        elif message["type"] == "error":
            sys.exit(message["error"]["message"])
