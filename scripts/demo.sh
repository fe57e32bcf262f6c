#!/bin/sh
# make demo: the whole loop on real speech, offline, in a temporary data folder.
set -eu
ASR_EDGE_HOME=$(mktemp -d)
export ASR_EDGE_HOME
trap 'rm -rf "$ASR_EDGE_HOME"' EXIT
codes=$ASR_EDGE_HOME/codes
recordings=$(python -c 'from device_app.paths import RECORDINGS; print(RECORDINGS)')

say() { printf '\n\033[2m%s\033[0m\n' "$*"; }
show() {
    printf '\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

say "Transcribing a recording, offline:"
show asr-edge transcribe "$recordings/ss-noservice.flac"

say "Many spelled codes in telephone quality are misrecognised (recorded letters and digits, joined: device_app/assets/demo):"
python scripts/codes.py "$codes"
sed -n '1p;12p' "$codes/manifest.jsonl"
show asr-edge transcribe "$codes/000.flac" "$codes/011.flac" || true

say "Adapting to them. Some codes are held out for the test, 011 among them. The WER on general speech must not rise:"
show asr-edge import "$codes/manifest.jsonl" --domain codes
show asr-edge adapt --domain codes --lambda 0.6

say "The same recordings, transcribed by the new int8 model:"
show asr-edge transcribe "$codes/000.flac" "$codes/011.flac"
show asr-edge log

say "Any edit can be reverted:"
show asr-edge revert 1
show asr-edge transcribe "$codes/000.flac" "$codes/011.flac" || true
printf '\nNow with your own voice: . .venv/bin/activate, then asr-edge record --domain me; asr-edge adapt --domain me\n'
