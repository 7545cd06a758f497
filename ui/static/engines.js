// Which models are loaded and how far those are that load: one small line at the foot of the sidebar, and a bar with a
// button to cancel in the settings.

import { $, call, notice, onSignal } from "./bridge.js";
import { setPreferences } from "./composer.js";
import { settingsOpen } from "./dialogs.js";
import { language, t } from "./texts.js";

const BUSY_MS = 700;
const CALM_MS = 15000;
const TOLD = "lucid-told";

let timer = 0;
let lost = false;
let first = true;
let failed = new Set();
let before = "";

export function startEngines() {
  onSignal("engines", look);
  $("lu-loading-cancel").addEventListener("click", cancel);
  look();
}

async function look() {
  clearTimeout(timer);
  let state = null;
  try {
    state = await (await fetch("/lucid/state")).json();
  } catch {
    if (!lost) notice(t("lost"));
    lost = true;
    timer = setTimeout(look, BUSY_MS * 4);
    return;
  }
  if (lost) notice(t("lost.late"), { calm: true });
  lost = false;
  if (first) {
    setPreferences(state.preferences);
    if (state.notices.length) notice(state.notices.join(" "));
    first = false;
  }
  draw(state.engines);
  drawLoading(state.engines.find((engine) => engine.status === "loading"));
  explain(state.engines.filter((engine) => engine.status === "failed"));
  tell(state.engines);
  refresh(state.engines);
  // What was unloaded for being idle is cold with a word about it, and stays so until it is needed.
  const busy = state.engines.some((e) => e.status === "loading" || (e.status === "cold" && !e.text));
  timer = setTimeout(look, busy ? BUSY_MS : CALM_MS);
}

async function cancel() {
  const role = $("lu-loading").dataset.role;
  $("lu-loading-cancel").disabled = true;
  try {
    await fetch(`/lucid/engines/${role}/cancel`, { method: "POST" });
  } finally {
    look();
  }
}

/** Says once why an engine is not available. */
function explain(engines) {
  const fresh = engines.find((engine) => !failed.has(engine.role + engine.name));
  failed = new Set(engines.map((engine) => engine.role + engine.name));
  if (fresh) notice(fresh.text);
}

/** Says once, reloads included, why a choice did not come about. */
function tell(engines) {
  const notices = engines.map((engine) => engine.notice).filter(Boolean);
  const fresh = notices.filter((sentence) => !(sessionStorage.getItem(TOLD) ?? "").includes(sentence));
  sessionStorage.setItem(TOLD, notices.join(" "));
  if (fresh.length) notice(fresh.join(" "));
}

/** Once a load has ended, the lists in the settings show what is used now. */
function refresh(engines) {
  const now = engines.map((e) => `${e.name} ${e.status}`).join();
  if (before && before !== now && settingsOpen() && !engines.some((e) => e.status === "loading")) call("engines");
  before = now;
}

function drawLoading(engine) {
  const place = $("lu-loading");
  place.hidden = !engine;
  if (!engine) {
    $("lu-loading-cancel").disabled = false;
    return;
  }
  if (place.dataset.role !== engine.role) $("lu-loading-cancel").disabled = false;
  place.dataset.role = engine.role;
  const bar = $("lu-loading-bar");
  if (engine.fraction === null) bar.removeAttribute("value");
  else bar.value = engine.fraction;
  const said = [engine.text, engine.serving && t("loading.meanwhile", { name: engine.serving })].filter(Boolean);
  $("lu-loading-text").textContent = said.join(language === "zh" ? "。" : ". ");
}

function draw(engines) {
  const chips = engines.map((engine) => {
    const chip = document.createElement("span");
    chip.className = `lu-engine lu-${engine.status}`;
    chip.dataset.role = engine.role;
    const status = t(`engine.${engine.status}`);
    chip.title = `${engine.name}: ${engine.text || status}`;
    chip.append(document.createElement("i"), document.createElement("b"), document.createElement("small"));
    chip.querySelector("b").textContent = t(`engine.${engine.role}`);
    const share = engine.status === "loading" && engine.fraction !== null;
    chip.querySelector("small").textContent = share ? `${Math.round(engine.fraction * 100)} %` : status;
    return chip;
  });
  // Redrawn only when something changed, so that screen readers are left in peace.
  const place = $("lu-engines");
  const now = chips.map((c) => c.outerHTML).join("");
  if (place.dataset.shown === now) return;
  place.dataset.shown = now;
  place.replaceChildren(...chips);
}
