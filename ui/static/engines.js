// One small line at the foot of the sidebar: which models are loaded, how far those are that load.

import { $, notice, onSignal } from "./bridge.js";
import { setPreferences } from "./composer.js";
import { t } from "./texts.js";

const BUSY_MS = 700;
const CALM_MS = 15000;

let timer = 0;
let lost = false;
let first = true;
let failed = new Set();

export function startEngines() {
  onSignal("engines", look);
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
  explain(state.engines.filter((engine) => engine.status === "failed"));
  const busy = state.engines.some((e) => e.status === "loading" || e.status === "cold");
  timer = setTimeout(look, busy ? BUSY_MS : CALM_MS);
}

/** Says once why an engine is not available. */
function explain(engines) {
  const fresh = engines.find((engine) => !failed.has(engine.role + engine.name));
  failed = new Set(engines.map((engine) => engine.role + engine.name));
  if (fresh) notice(fresh.text);
}

function draw(engines) {
  const chips = engines.map((engine) => {
    const chip = document.createElement("span");
    chip.className = `lu-engine lu-${engine.status}`;
    chip.dataset.role = engine.role;
    const status = t(`engine.${engine.status}`);
    chip.title = `${engine.name}: ${engine.status === "ready" ? status : engine.text || status}`;
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
