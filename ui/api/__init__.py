"""Lucid as a server for other programs: an OpenAI-compatible endpoint below /v1. Off unless the owner asks for it."""
