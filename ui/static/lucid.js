// Starts the page once Gradio has drawn it, and listens to the keyboard.

import { $, call, notice, onSignal } from "./bridge.js";
import { add, cancelRecording, dictate, insert, isRecording, send, startComposer, stop } from "./composer.js";
import { closeSettings, settingsOpen, startDialogs, toggleHelp } from "./dialogs.js";
import { startEngines } from "./engines.js";
import { startMessages } from "./messages.js";
import { player } from "./player.js";
import { closeMenu, newChat, search, startSidebar } from "./sidebar.js";
import { language, t, translate } from "./texts.js";

// The parts that must be there before anything can be connected.
const PARTS = ["lu-side", "lu-conversations", "lu-scroll", "lu-form", "lu-dialogs", "lu-settings", "lu-apply", "lu-prompt", "lu-loading-cancel"];

function drawn() {
  return Boolean(window.lucidBridge) && PARTS.every($);
}

async function start() {
  while (!drawn()) await new Promise((resolve) => setTimeout(resolve, 30));
  document.documentElement.lang = language;
  translate(document.body);
  startSidebar();
  startComposer();
  startMessages();
  startDialogs();
  startEngines();
  startExamples();
  document.addEventListener("keydown", shortcut);
  onSignal("notice", (signal) => notice(signal.notice));
  onSignal("opened", () => document.body.classList.add("lu-ready"));
  call("open");
  $("lu-text").focus();
  // What tests and curious owners may look at.
  window.lucid = { player: player, add, stop };
}

function startExamples() {
  const actions = {
    1: () => (insert(t("example.1.text")), send()),
    2: () => (insert(t("example.2.text")), $("lu-files").click()),
    3: () => (insert(t("example.3.text")), send()),
    4: dictate,
  };
  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => actions[button.dataset.example]());
  }
}

function shortcut(event) {
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  const actions = [
    [command && !event.shiftKey && key === "k", search],
    [command && event.shiftKey && key === "o", newChat],
    [command && key === "/", toggleHelp],
    [event.key === "Escape" && !document.querySelector("dialog[open]"), escape],
  ];
  const [, action] = actions.find(([wanted]) => wanted) ?? [];
  if (!action) return;
  event.preventDefault();
  action();
}

/** Escape closes what is open, or else stops what runs. */
function escape() {
  if (!$("lu-menu").hidden) closeMenu();
  else if (settingsOpen()) closeSettings();
  else if (isRecording()) cancelRecording();
  else stop();
}

start();
