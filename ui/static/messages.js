// What can be done with messages: play, copy, answer again, edit, enlarge; and keeping the newest words in view.

import { $, announce, call, notice, onSignal, page } from "./bridge.js";
import { ask } from "./composer.js";
import { player } from "./player.js";
import { t } from "./texts.js";

const NEAR_PX = 80;

export function startMessages() {
  const place = $("lu-scroll");
  place.addEventListener("click", act);
  for (const kind of ["mouseover", "focusin"]) place.addEventListener(kind, (event) => point(event, true));
  for (const kind of ["mouseout", "focusout"]) place.addEventListener(kind, (event) => point(event, false));
  player.addEventListener("change", showPlaying);
  onSignal("ended", ended);
  startFollowing(place);
}

function act(event) {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  const message = button.closest("[data-message]");
  const actions = { play, copy, again, edit, enlarge, earlier: () => call("earlier") };
  actions[button.dataset.act]?.(button, message);
}

async function play(button, message) {
  const id = message.dataset.message;
  if (player.state.key === id) return player.stop();
  const { error, remedy } = await player.play(`/lucid/aloud/${encodeURIComponent(id)}`, id);
  return error ? notice(`${error} ${remedy ?? ""}`) : undefined;
}

async function copy(button, message) {
  try {
    await navigator.clipboard.writeText(message.dataset.raw);
    notice(t("copied"), { calm: true });
    announce(t("copied"));
  } catch (error) {
    notice(String(error.message ?? error));
  }
}

function again(button) {
  ask("again", { message: button.dataset.question });
}

/** Turns the owner's message into a box to write in. */
function edit(button, message) {
  if (message.querySelector("textarea")) return;
  const bubble = message.querySelector(".lu-bubble");
  const box = document.createElement("form");
  box.className = "lu-editor";
  const text = document.createElement("textarea");
  text.value = message.dataset.raw;
  text.setAttribute("aria-label", t("edit"));
  const cancel = Object.assign(document.createElement("button"), { type: "button", textContent: t("cancel") });
  cancel.className = "lu-plain";
  const save = Object.assign(document.createElement("button"), { type: "submit", textContent: t("edit.send") });
  save.className = "lu-primary";
  const row = document.createElement("div");
  row.append(cancel, save);
  box.append(text, row);
  const close = () => {
    box.remove();
    message.classList.remove("lu-editing");
    button.focus();
  };
  cancel.addEventListener("click", close);
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!text.value.trim() && !message.querySelector(".lu-files")) return;
    ask("edit", { message: message.dataset.message, text: text.value });
    close();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      box.requestSubmit();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close();
    }
  });
  message.classList.add("lu-editing");
  bubble.after(box);
  text.style.height = `${Math.min(320, text.scrollHeight + 4)}px`;
  text.focus();
}

function enlarge(button) {
  const picture = button.querySelector("img");
  $("lu-lightbox-view").src = picture.src;
  $("lu-lightbox-view").alt = picture.alt;
  $("lu-lightbox").showModal();
}

/** Lights up the box in the thumbnail that a chip of the evidence panel speaks of. */
function point(event, on) {
  const chip = event.target.closest?.(".lu-chip[data-box]");
  const box = chip?.closest(".lu-seen-card")?.querySelector(`rect[data-box="${CSS.escape(chip.dataset.box)}"]`);
  box?.classList.toggle("lu-lit", on);
}

function showPlaying() {
  for (const button of document.querySelectorAll('[data-act="play"]')) {
    const on = button.closest("[data-message]")?.dataset.message === player.state.key;
    button.classList.toggle("lu-on", on);
    const label = t(on ? "play.stop" : "play");
    button.title = label;
    button.setAttribute("aria-label", label);
  }
}

function ended(signal) {
  if (signal.answer) player.rename("live", signal.answer);
  if (signal.announce) announce(t("answered", { text: signal.announce }));
  setTimeout(showPlaying, 200); // after the answer has been drawn with its buttons
}

/** Stays at the newest words as long as the owner has not scrolled away from them. */
function startFollowing(place) {
  const down = document.createElement("button");
  down.type = "button";
  down.id = "lu-down";
  down.textContent = "↓";
  down.setAttribute("aria-label", t("latest"));
  down.title = t("latest");
  $("lu-form").before(down);
  let following = true;
  let keep = 0;
  let height = 0;
  const bottom = () => place.scrollTo({ top: place.scrollHeight });
  const away = () => place.scrollHeight - place.scrollTop - place.clientHeight;
  place.addEventListener("scroll", () => {
    if (place.scrollHeight === height) following = away() < NEAR_PX;
    down.classList.toggle("lu-shown", away() > 3 * NEAR_PX);
  });
  down.addEventListener("click", () => {
    following = true;
    bottom();
  });
  const grown = () => {
    // Gradio would have every streamed word announced; ours is said once, when it is whole (see announce).
    for (const log of place.querySelectorAll('[role="log"][aria-live="polite"]')) log.setAttribute("aria-live", "off");
    if (keep) place.scrollTop += place.scrollHeight - keep;
    else if (following && page.conversation) bottom();
    keep = 0;
    height = place.scrollHeight;
    down.classList.toggle("lu-shown", away() > 3 * NEAR_PX);
  };
  const watch = new ResizeObserver(grown);
  for (const child of place.children) watch.observe(child);
  new MutationObserver(() => {
    for (const child of place.children) watch.observe(child);
  }).observe(place, { childList: true });
  onSignal("began", () => {
    following = true;
    bottom();
  });
  onSignal("opened", () => {
    following = true;
    setTimeout(bottom, 60);
  });
  onSignal("keep_place", () => (keep = place.scrollHeight));
}
