// The list of conversations: open, search, rename, delete, export, import, clear.

import { $, call, notice, onSignal, page, post } from "./bridge.js";
import { player } from "./player.js";
import { stop } from "./composer.js";
import { confirmed } from "./dialogs.js";
import { t } from "./texts.js";

const NARROW = window.matchMedia("(max-width: 860px)");

export function startSidebar() {
  const side = $("lu-side");
  side.setAttribute("role", "navigation");
  side.setAttribute("aria-label", t("sidebar.label"));
  if (NARROW.matches || localStorage.getItem("lucid-side") === "closed") fold(true);
  $("lu-fold").addEventListener("click", () => fold(true, true));
  $("lu-unfold").addEventListener("click", () => fold(false, true));
  $("lu-main").addEventListener("click", (event) => {
    if (NARROW.matches && !isFolded() && !event.target.closest("#lu-unfold")) fold(true);
  });
  for (const id of ["lu-new", "lu-new-top"]) $(id).addEventListener("click", newChat);
  $("lu-clear").addEventListener("click", clear);
  let timer = 0;
  $("lu-search").addEventListener("input", ({ target }) => {
    clearTimeout(timer);
    timer = setTimeout(() => call("search", { text: target.value }), 160);
  });
  $("lu-conversations").addEventListener("click", listed);
  $("lu-import").addEventListener("click", () => $("lu-import-file").click());
  $("lu-import-file").addEventListener("change", importFile);
  document.addEventListener("click", ({ target }) => {
    if (!target.closest("#lu-menu, [data-act=menu]")) closeMenu();
  });
  window.addEventListener("hashchange", () => {
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (wanted !== page.conversation) open(wanted);
  });
  onSignal("conversation", (signal) => setConversation(signal.conversation));
  onSignal("title", (signal) => setTitle(signal.title));
  onSignal("shown", (signal) => (page.shown = signal.shown));
  onSignal("deleted", (signal) => signal.deleted === page.conversation && newChat());
  for (const gone of ["deleted", "cleared"]) onSignal(gone, () => fetch("/lucid/forget", { method: "POST" }));
  startNeighbours();
  onSignal("saved", () => notice(t("set.saved"), { calm: true }));
}

/** Other tabs of this browser see what this one does: turns that begin and end, and changes of the list. */
function startNeighbours() {
  const neighbours = new BroadcastChannel("lucid");
  const tell = (what) => (signal) => {
    const conversation = signal.deleted || signal.renamed || signal.conversation || page.conversation;
    neighbours.postMessage({ what, conversation });
  };
  for (const what of ["began", "ended", "cleared", "deleted", "renamed"]) onSignal(what, tell(what));
  neighbours.onmessage = ({ data }) => {
    const here = data.conversation === page.conversation;
    if (here && !page.busy && data.what !== "ended") call("open");
    else call("search", { text: $("lu-search").value });
  };
}

export function isFolded() {
  return document.body.classList.contains("lu-folded");
}

export function fold(folded, remember = false) {
  document.body.classList.toggle("lu-folded", folded);
  $("lu-side").inert = folded;
  if (remember && !NARROW.matches) localStorage.setItem("lucid-side", folded ? "closed" : "open");
  if (remember) (folded ? $("lu-unfold") : $("lu-search")).focus({ preventScroll: true });
}

export function newChat() {
  open("");
  $("lu-text").focus();
}

export function search() {
  fold(false);
  $("lu-search").focus();
  $("lu-search").select();
}

export function open(id) {
  player.stop();
  page.shown = 0;
  setConversation(id);
  setTitle("");
  call("open");
  if (NARROW.matches) fold(true);
}

function setConversation(id) {
  page.conversation = id;
  const address = id ? `#${encodeURIComponent(id)}` : location.pathname;
  if (decodeURIComponent(location.hash.slice(1)) !== id) history.replaceState(null, "", address);
}

function setTitle(title) {
  page.title = title;
  $("lu-title").textContent = title;
  document.title = title ? `${title} · Lucid` : "Lucid";
}

function listed(event) {
  const button = event.target.closest("[data-act]");
  const row = button?.closest("[data-conversation]");
  if (!row) return;
  const { conversation, title } = row.dataset;
  if (button.dataset.act === "open") open(conversation);
  else if (button.dataset.act === "menu") openMenu(button, row, conversation, title);
}

function openMenu(button, row, conversation, title) {
  const menu = $("lu-menu");
  const entries = [
    ["rename", () => rename(row, conversation, title)],
    ["export", () => exportFile(conversation)],
    ["delete", () => remove(conversation, title)],
  ];
  menu.replaceChildren(
    ...entries.map(([key, action]) => {
      const entry = Object.assign(document.createElement("button"), { type: "button", textContent: t(key) });
      entry.setAttribute("role", "menuitem");
      entry.dataset.key = key;
      entry.addEventListener("click", () => {
        closeMenu();
        action();
      });
      return entry;
    }),
  );
  const place = button.getBoundingClientRect();
  menu.hidden = false;
  menu.style.left = `${Math.min(place.left, innerWidth - menu.offsetWidth - 8)}px`;
  menu.style.top = `${Math.min(place.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
  menu.firstChild.focus();
  menu.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const all = [...menu.children];
    if (step) {
      event.preventDefault();
      all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      closeMenu();
      button.focus();
    }
  };
}

export function closeMenu() {
  $("lu-menu").hidden = true;
}

function rename(row, conversation, title) {
  const field = Object.assign(document.createElement("input"), { value: title, className: "lu-rename", maxLength: 120 });
  field.setAttribute("aria-label", t("rename"));
  row.append(field);
  row.classList.add("lu-renaming");
  let over = false;
  const close = (save) => {
    if (over) return;
    over = true;
    row.classList.remove("lu-renaming");
    field.remove();
    if (save && field.value.trim() && field.value !== title) call("rename", { message: conversation, text: field.value });
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") {
      event.stopPropagation();
      close(event.key === "Enter");
    }
  });
  field.addEventListener("blur", () => close(true));
  field.focus();
  field.select();
}

async function remove(conversation, title) {
  if (await confirmed(t("delete.title"), t("delete.text", { title }), t("delete"))) call("delete", { message: conversation });
}

async function clear() {
  if (!page.conversation) return;
  if (!(await confirmed(t("clear.title"), t("clear.text"), t("clear")))) return;
  stop();
  call("clear");
}

async function exportFile(conversation) {
  const response = await fetch(`/lucid/export/${encodeURIComponent(conversation)}`);
  if (!response.ok) {
    const refused = await response.json();
    notice(`${refused.error} ${refused.remedy}`);
    return;
  }
  const name = /filename\*?=(?:utf-8'')?"?([^";]+)/i.exec(response.headers.get("content-disposition") ?? "")?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = decodeURIComponent(name ?? "conversation.zip");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function importFile({ target }) {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  const made = await post("/lucid/import", file, file.name);
  if (made.error) notice(made.error === "lost" ? t("lost") : `${made.error} ${made.remedy}`);
  else {
    open(made.conversation);
    notice(t("import.done"), { calm: true });
  }
}
