// The page's state, and its one way to the server: calls go out through Gradio's bridge component, signals come back.

import { language } from "./texts.js";

export const page = {
  conversation: decodeURIComponent(location.hash.slice(1)),
  title: "",
  busy: false,
  shown: 0,
  preferences: { speak: false, send_dictation: false },
};

export const $ = (id) => document.getElementById(id);

/** Asks the server for something; what comes of it is seen on the page. */
export function call(name, data = {}) {
  window.lucidBridge?.(name, { conversation: page.conversation, shown: page.shown, language, ...data });
}

/** Runs `listener(signal)` for every signal that has `field`. */
export function onSignal(field, listener) {
  listeners.push([field, listener]);
}

/** Says something to screen readers. */
export function announce(sentence) {
  const region = $("lu-announcer");
  if (region) region.textContent = sentence;
}

let noticeTimer = 0;
/** Shows one sentence above the composer, for a while. */
export function notice(sentence, { calm = false } = {}) {
  const place = $("lu-notice");
  if (!place) return;
  place.textContent = sentence;
  place.classList.toggle("lu-calm", calm);
  place.classList.toggle("lu-shown", Boolean(sentence));
  clearTimeout(noticeTimer);
  if (sentence) noticeTimer = setTimeout(() => notice(""), calm ? 2500 : 12000);
}

/** Sends a file as a form; the answer as an object, which has `error` when it was refused. */
export async function post(address, blob, name) {
  const form = new FormData();
  form.append("file", blob, name);
  try {
    const response = await fetch(address, { method: "POST", body: form });
    const kind = response.headers.get("content-type") ?? "";
    return kind.includes("json") ? await response.json() : { error: await response.text(), remedy: "" };
  } catch {
    return { error: "lost", remedy: "" };
  }
}

/** An id that nobody else has. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

const listeners = [];
let last = 0;

window.addEventListener("lucid:signal", ({ detail }) => {
  if (!detail) return;
  const signal = JSON.parse(detail);
  if (signal.n === last) return;
  last = signal.n;
  for (const [field, listener] of listeners) if (field in signal) listener(signal);
});
