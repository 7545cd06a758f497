// Dialogs: help, confirmation, webcam, settings, light and dark.

import { $, call, notice, page } from "./bridge.js";
import { add } from "./composer.js";
import { t } from "./texts.js";

const THEMES = ["system", "light", "dark"];
const SYSTEM_DARK = window.matchMedia("(prefers-color-scheme: dark)");
let webcam = null;

export function startDialogs() {
  $("lu-open-help").addEventListener("click", () => $("lu-help").showModal());
  for (const dialog of document.querySelectorAll("#lu-dialogs dialog")) {
    dialog.addEventListener("click", ({ target }) => {
      if (target === dialog || target.closest("[data-close]")) dialog.close();
    });
  }
  $("lu-camera").addEventListener("click", openWebcam);
  $("lu-webcam-take").addEventListener("click", takePicture);
  $("lu-webcam").addEventListener("close", closeWebcam);
  $("lu-open-settings").addEventListener("click", openSettings);
  $("lu-close-settings").addEventListener("click", closeSettings);
  $("lu-apply").addEventListener("click", () => call("prompt", { text: $("lu-prompt").querySelector("textarea").value }));
  $("lu-theme").addEventListener("click", nextTheme);
  SYSTEM_DARK.addEventListener("change", applyTheme);
  // Gradio sets its own idea of dark when it starts.
  new MutationObserver(applyTheme).observe(document.body, { attributeFilter: ["class"] });
  const settings = $("lu-settings");
  settings.setAttribute("role", "dialog");
  settings.setAttribute("aria-label", t("settings"));
  settings.inert = true;
  applyTheme();
}

/** Asks; resolves to whether the owner said yes. */
export function confirmed(title, text, yes) {
  const dialog = $("lu-confirm");
  $("lu-confirm-title").textContent = title;
  $("lu-confirm-text").textContent = text;
  const button = $("lu-confirm-yes");
  button.textContent = yes;
  return new Promise((resolve) => {
    let answer = false;
    button.onclick = () => {
      answer = true;
      dialog.close();
    };
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
  });
}

export function toggleHelp() {
  const help = $("lu-help");
  if (help.open) help.close();
  else help.showModal();
}

export function settingsOpen() {
  return document.body.classList.contains("lu-settings-open");
}

function openSettings() {
  call("settings");
  document.body.classList.add("lu-settings-open");
  $("lu-settings").inert = false;
  $("lu-close-settings").focus();
}

export function closeSettings() {
  document.body.classList.remove("lu-settings-open");
  $("lu-settings").inert = true;
  $("lu-open-settings").focus();
}

function theme() {
  const chosen = localStorage.getItem("lucid-theme");
  return THEMES.includes(chosen) ? chosen : "system";
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  localStorage.setItem("lucid-theme", next);
  applyTheme();
  notice(t(`theme.${next}`), { calm: true });
}

function applyTheme() {
  const dark = theme() === "dark" || (theme() === "system" && SYSTEM_DARK.matches);
  if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

async function openWebcam() {
  try {
    webcam = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch {
    notice(t("camera.denied"));
    return;
  }
  $("lu-webcam-view").srcObject = webcam;
  $("lu-webcam").showModal();
  $("lu-webcam-take").focus();
}

function takePicture() {
  const view = $("lu-webcam-view");
  const canvas = document.createElement("canvas");
  canvas.width = view.videoWidth;
  canvas.height = view.videoHeight;
  canvas.getContext("2d").drawImage(view, 0, 0);
  canvas.toBlob((blob) => {
    $("lu-webcam").close();
    if (blob) add([new File([blob], "webcam.jpg", { type: "image/jpeg" })]);
  }, "image/jpeg", 0.92);
}

function closeWebcam() {
  webcam?.getTracks().forEach((track) => track.stop());
  webcam = null;
  $("lu-webcam-view").srcObject = null;
  if (page) $("lu-text").focus();
}
