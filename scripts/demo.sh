#!/bin/sh
# make demo: the main job on the embedded recordings, offline.
set -eu
cd "$(python -c 'from device_app.models import RECORDINGS; print(RECORDINGS)')"

show() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

show asr-edge transcribe ss-noservice.flac two_cities.flac
show asr-edge transcribe vm-newuser.flac --format srt
show asr-edge evaluate manifest.jsonl
printf '\nNow with your own voice: . .venv/bin/activate, then asr-edge transcribe\n'
