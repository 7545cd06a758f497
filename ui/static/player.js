// Plays speech that is still being made: 16-bit WAV, streamed by fetch(), put end to end through WebAudio.

const HEADER_BYTES = 44;
// How far ahead of the clock the first piece starts, so that the second one is there in time.
const LEAD_S = 0.06;

class Player extends EventTarget {
  /** key: what is playing (a message's id, or "live"), "" for nothing. seconds: scheduled so far. pieces: count of them. */
  state = { key: "", playing: false, seconds: 0, pieces: 0, finished: 0 };
  #context = null;
  #abort = null;
  #sources = new Set();
  #next = 0;

  /** Must be called in a click or key press once, or browsers keep the page silent. */
  unlock() {
    this.#context ??= new AudioContext();
    if (this.#context.state === "suspended") this.#context.resume();
  }

  /** Plays what `address` streams, after silencing what plays. Resolves when it has been heard to the end or stopped;
      to an object with `error` when the server refused. */
  async play(address, key) {
    this.stop();
    this.unlock();
    const abort = (this.#abort = new AbortController());
    this.state = { key, playing: false, seconds: 0, pieces: 0, finished: this.state.finished };
    this.#changed();
    try {
      const response = await fetch(address, { signal: abort.signal });
      if (!response.ok) return await response.json().catch(() => ({ error: response.statusText }));
      await this.#schedule(response.body.getReader(), abort.signal);
      await this.#silence(abort.signal);
      if (!abort.signal.aborted) this.state.finished += 1;
    } catch (error) {
      if (!abort.signal.aborted) return { error: String(error.message ?? error) };
    } finally {
      if (this.#abort === abort) this.#reset();
    }
    return {};
  }

  /** Silence, at once; the server stops making what was not heard yet. */
  stop() {
    this.#abort?.abort();
    for (const source of this.#sources) source.stop();
    this.#reset();
  }

  /** The running sound belongs to this message now. */
  rename(from, to) {
    if (this.state.key !== from) return;
    this.state.key = to;
    this.#changed();
  }

  #reset() {
    this.#abort = null;
    this.#sources.clear();
    if (!this.state.key) return;
    this.state.key = "";
    this.state.playing = false;
    this.#changed();
  }

  async #schedule(reader, signal) {
    let rest = new Uint8Array(0);
    let rate = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      const bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      let start = 0;
      if (!rate) {
        if (bytes.length < HEADER_BYTES) {
          rest = bytes;
          continue;
        }
        rate = new DataView(bytes.buffer).getUint32(24, true);
        start = HEADER_BYTES;
      }
      const samples = (bytes.length - start) >> 1;
      if (samples) this.#add(new DataView(bytes.buffer, start, samples * 2), samples, rate);
      rest = bytes.slice(start + samples * 2);
    }
  }

  #add(view, samples, rate) {
    const buffer = this.#context.createBuffer(1, samples, rate);
    const channel = buffer.getChannelData(0);
    for (let i = 0; i < samples; i += 1) channel[i] = view.getInt16(i * 2, true) / 32768;
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#context.destination);
    this.#next = Math.max(this.#next, this.#context.currentTime + LEAD_S);
    source.start(this.#next);
    this.#next += buffer.duration;
    this.#sources.add(source);
    source.onended = () => this.#sources.delete(source);
    this.state.seconds += buffer.duration;
    this.state.pieces += 1;
    if (!this.state.playing) {
      this.state.playing = true;
      this.#changed();
    }
  }

  async #silence(signal) {
    while (!signal.aborted && this.#sources.size && this.#context.currentTime < this.#next) {
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

export const player = new Player();
