"""The engine for OpenAI-compatible servers: vLLM, SGLang, llama.cpp, Ollama, `transformers serve` and others.

address    what the owner typed → where to go; loopback only with --offline
connection one HTTP client per request, its limits and its time-outs; work that can be stopped while it waits
dialect    what this server is, what it takes and how much of it; learnt from its lists and its refusals
messages   Lucid's messages → chat messages; pictures → data URLs; how many tokens they may take
failures   whatever goes wrong → a sentence for the owner
answering  one question: ask, adapt, try again, read the stream
model      `ServerModel`, the engine, and `connect`
"""

from __future__ import annotations

from models.seeing.server.model import ServerModel, connect

__all__ = ["ServerModel", "connect"]
