"""OpenAI's API for transcription: https://platform.openai.com/docs/api-reference/audio."""
