// Records the microphone into one blob in whatever format the browser writes; the server reads them all.

export class Recorder {
  #stream = null;
  #recorder = null;
  #context = null;
  #analyser = null;
  #pieces = [];

  /** Throws what getUserMedia throws when the microphone may not be used. */
  async start() {
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
    this.#pieces = [];
    this.#recorder = new MediaRecorder(this.#stream);
    this.#recorder.ondataavailable = ({ data }) => data.size && this.#pieces.push(data);
    this.#recorder.start(250);
    this.#context = new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 512;
    this.#context.createMediaStreamSource(this.#stream).connect(this.#analyser);
  }

  get active() {
    return this.#recorder !== null;
  }

  /** How loud it is now, 0 … 1. */
  level() {
    if (!this.#analyser) return 0;
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    return Math.min(1, Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length) * 5);
  }

  /** Ends the recording; resolves to the blob. */
  async finish() {
    const recorder = this.#recorder;
    if (!recorder) return null;
    const ended = new Promise((resolve) => (recorder.onstop = resolve));
    if (recorder.state !== "inactive") recorder.stop();
    await ended;
    const blob = new Blob(this.#pieces, { type: recorder.mimeType });
    this.#close();
    return blob;
  }

  /** Ends the recording and forgets it. */
  cancel() {
    if (this.#recorder?.state === "recording") this.#recorder.stop();
    this.#close();
  }

  #close() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#context?.close();
    this.#stream = this.#recorder = this.#context = this.#analyser = null;
    this.#pieces = [];
  }
}
