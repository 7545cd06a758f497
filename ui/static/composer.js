// Where a message is put together: words, files, dictation; sending and stopping.

import { $, call, newId, notice, onSignal, page, post } from "./bridge.js";
import { player } from "./player.js";
import { Recorder } from "./recorder.js";
import { t } from "./texts.js";

// token "" while the file is on its way.
let files = [];
// What was sent last, to be given back when it is refused.
let sent = { text: "", files: [] };
const recorder = new Recorder();

export function startComposer() {
  const text = $("lu-text");
  text.addEventListener("input", refresh);
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  text.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      add(event.clipboardData.files);
    }
  });
  $("lu-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("lu-form").addEventListener("click", ({ target }) => {
    if (target.id === "lu-form" || target.className === "lu-tools") text.focus();
  });
  $("lu-stop").addEventListener("click", stop);
  $("lu-attach").addEventListener("click", () => $("lu-files").click());
  $("lu-files").addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = "";
  });
  $("lu-mic").addEventListener("click", dictate);
  $("lu-speak").addEventListener("click", () => {
    page.preferences.speak = !page.preferences.speak;
    if (page.preferences.speak) player.unlock();
    else player.stop();
    call("prefer", { text: page.preferences.speak ? "on" : "off" });
    refresh();
  });
  startDropping();
  onSignal("busy", (signal) => setBusy(signal.busy));
  onSignal("refused", giveBack);
  onSignal("preferences", (signal) => setPreferences(signal.preferences));
  refresh();
}

export function setPreferences(preferences) {
  page.preferences = preferences;
  refresh();
}

/** Puts words into the box, after what is there. */
export function insert(words) {
  const text = $("lu-text");
  text.value = text.value.trim() ? `${text.value.trimEnd()} ${words}` : words;
  text.focus();
  refresh();
}

/** Sends what is in the composer. */
export async function send() {
  const text = $("lu-text");
  if (page.busy) return notice(t("waiting"), { calm: true });
  if (files.some((f) => !f.token)) return undefined; // the button says so: it is disabled until the files are there
  if (!text.value.trim() && !files.length) return undefined;
  sent = { text: text.value, files };
  files = [];
  text.value = "";
  notice("");
  ask("send", { text: sent.text, files: sent.files.map((f) => f.token) });
  return text.focus();
}

/** Starts a turn: the call, and listening for its speech if that is wanted. */
export function ask(name, data) {
  player.stop();
  const sound = page.preferences.speak ? newId() : "";
  if (sound) player.play(`/lucid/sound/${sound}`, "live");
  setBusy(true);
  call(name, { ...data, sound });
}

/** Stops the answer and the voice. */
export function stop() {
  player.stop();
  if (page.busy) call("stop");
}

export function isRecording() {
  return recorder.active;
}

export function cancelRecording() {
  recorder.cancel();
  showRecording(false);
}

/** Starts dictating or, while it runs, ends it and puts the words into the box. */
export async function dictate() {
  if (recorder.active) return finishDictation();
  player.stop();
  try {
    await recorder.start();
  } catch {
    recorder.cancel();
    return notice(t("mic.denied"));
  }
  return showRecording(true);
}

async function finishDictation() {
  const blob = await recorder.finish();
  showRecording(false);
  if (!blob?.size) return notice(t("mic.nothing"), { calm: true });
  const text = $("lu-text");
  text.placeholder = t("mic.working");
  $("lu-form").classList.add("lu-working");
  const heard = await post("/lucid/dictate", blob, "dictation");
  $("lu-form").classList.remove("lu-working");
  text.placeholder = t("composer");
  if (heard.error) return notice(heard.error === "lost" ? t("lost") : `${heard.error} ${heard.remedy}`);
  if (!heard.text) return notice(t("mic.nothing"), { calm: true });
  insert(heard.text);
  return page.preferences.send_dictation ? send() : undefined;
}

function showRecording(on) {
  $("lu-recording").hidden = !on;
  $("lu-text").hidden = on;
  const button = $("lu-mic");
  button.setAttribute("aria-pressed", String(on));
  button.setAttribute("aria-label", t(on ? "mic.stop" : "mic"));
  button.title = t(on ? "mic.stop" : "mic");
  if (on) drawLevel(performance.now(), []);
  else $("lu-text").focus();
  refresh();
}

function drawLevel(begun, levels) {
  if (!recorder.active) return;
  const canvas = $("lu-level");
  const pen = canvas.getContext("2d");
  levels.push(recorder.level());
  if (levels.length > 60) levels.shift();
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = getComputedStyle(canvas).color;
  levels.forEach((level, i) => {
    const height = Math.max(2, level * canvas.height);
    pen.fillRect(canvas.width - (levels.length - i) * 4, (canvas.height - height) / 2, 2, height);
  });
  const seconds = Math.floor((performance.now() - begun) / 1000);
  $("lu-clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  setTimeout(() => requestAnimationFrame(() => drawLevel(begun, levels)), 60);
}

/** Adds files: each is taken by the server at once, or refused with a sentence. */
export async function add(list) {
  for (const file of [...list]) {
    const entry = { token: "", name: file.name || "picture.png", kind: "", preview: URL.createObjectURL(file) };
    files.push(entry);
    refresh();
    const kept = await post("/lucid/upload", file, entry.name);
    if (kept.error) {
      files = files.filter((f) => f !== entry);
      notice(kept.error === "lost" ? t("lost") : `${kept.error} ${kept.remedy}`);
    } else if (files.includes(entry)) Object.assign(entry, kept);
    else fetch(`/lucid/upload/${kept.token}`, { method: "DELETE" });
    refresh();
  }
}

function giveBack() {
  const text = $("lu-text");
  if (!text.value) text.value = sent.text;
  if (!files.length) files = sent.files;
  sent = { text: "", files: [] };
  refresh();
}

function setBusy(busy) {
  page.busy = busy;
  refresh();
}

function refresh() {
  const text = $("lu-text");
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight, 220)}px`;
  drawFiles();
  const ready = (text.value.trim() || files.length) && files.every((f) => f.token) && !recorder.active;
  $("lu-send").disabled = !ready || page.busy;
  $("lu-send").hidden = page.busy;
  $("lu-stop").hidden = !page.busy;
  const speak = $("lu-speak");
  speak.setAttribute("aria-pressed", String(page.preferences.speak));
  speak.title = t(page.preferences.speak ? "speak.on" : "speak.off");
  speak.classList.toggle("lu-on", page.preferences.speak);
}

function drawFiles() {
  const place = $("lu-chips");
  const chips = files.map((file) => {
    const chip = document.createElement("span");
    chip.className = `lu-file${file.token ? "" : " lu-pending"}`;
    const shown = file.kind === "image" ? new Image() : document.createElement("i");
    if (file.kind === "image") {
      shown.src = file.preview;
      shown.alt = "";
    } else shown.textContent = { audio: "♪", video: "▶" }[file.kind] ?? "…";
    const name = document.createElement("span");
    name.textContent = file.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", t("remove", { name: file.name }));
    remove.addEventListener("click", () => {
      files = files.filter((f) => f !== file);
      if (file.token) fetch(`/lucid/upload/${file.token}`, { method: "DELETE" });
      refresh();
      $("lu-text").focus();
    });
    chip.append(shown, name, remove);
    return chip;
  });
  place.replaceChildren(...chips);
}

function startDropping() {
  let depth = 0;
  const veil = $("lu-drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (on) => veil.classList.toggle("lu-shown", on);
  window.addEventListener("dragenter", (event) => hasFiles(event) && show((depth += 1) > 0));
  window.addEventListener("dragleave", (event) => hasFiles(event) && show((depth -= 1) > 0));
  window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show((depth = 0) > 0);
    add(event.dataTransfer.files);
  });
}
