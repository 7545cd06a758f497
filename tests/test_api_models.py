"""The endpoint with the packaged models: it sees, hears and speaks for the real openai client."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import openai
import pytest
import soundfile

from models.engines import Engines
from tests.api_server import FIXTURES, ApiServer, serving

pytestmark = pytest.mark.models
VOICE = "piper:en_US-joe-medium"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    engines = Engines("glimpse", "whisper-base", VOICE, offline=True)
    with serving(tmp_path_factory.mktemp("api"), engines) as running:
        yield running


def test_it_sees(server: ApiServer) -> None:
    dog = base64.b64encode((FIXTURES / "pictures" / "dalmatian.jpg").read_bytes()).decode()
    shown = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{dog}", "detail": "high"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is in this picture?"}, shown]}]
    client = server.client
    whole = client.chat.completions.create(model="glimpse", messages=messages, max_tokens=40)
    answer = whole.choices[0].message.content
    assert "dog" in answer.lower() or "dalmatian" in answer.lower()
    assert whole.usage.completion_tokens <= 40
    stream = client.chat.completions.create(model="glimpse", messages=messages, max_tokens=40, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == answer
    messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "Is there a dog?"}]
    again = client.chat.completions.create(model="glimpse", messages=messages, max_tokens=20)
    assert "yes" in again.choices[0].message.content.lower()
    with pytest.raises(openai.BadRequestError, match="Chinese"):
        client.chat.completions.create(model="glimpse", messages=[{"role": "user", "content": "法国的首都是哪里？"}])
    few = client.chat.completions.create(
        model="glimpse", messages=[{"role": "user", "content": "Tell me a story."}], max_tokens=5
    )
    assert (few.usage.completion_tokens, few.choices[0].finish_reason) == (5, "length")


def test_it_hears_and_speaks(server: ApiServer) -> None:
    client = server.client
    heard = client.audio.transcriptions.create(
        model="whisper-base",
        file=FIXTURES / "speech" / "jfk.flac",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert "ask not what your country can do for you" in heard.text.lower()
    assert heard.language == "en"
    assert len(heard.words) > 15
    assert heard.segments[-1].end <= heard.duration + 0.1

    assert client.audio.transcriptions.create(
        model="whisper-base", file=FIXTURES / "speech" / "jfk.flac", language="en"
    ).text

    said = client.audio.speech.create(
        model=VOICE, voice="en_US-joe-medium", input="The weather is fine today.", response_format="wav"
    ).content
    assert said[:4] == b"RIFF"
    assert said[8:12] == b"WAVE"
    samples, rate = soundfile.read(io.BytesIO(said))
    assert len(samples) / rate > 1.0
    assert float(np.abs(samples).max()) > 0.05
    again = client.audio.transcriptions.create(model="whisper-base", file=("a.wav", said))
    assert "weather" in again.text.lower()
    with pytest.raises(openai.BadRequestError, match="cannot say Chinese"):
        client.audio.speech.create(model=VOICE, voice="en_US-joe-medium", input="今天天气很好。")
    with pytest.raises(openai.BadRequestError, match="Voices are: en_US-joe-medium"):
        client.audio.speech.create(model=VOICE, voice="alloy", input="Hello.")
