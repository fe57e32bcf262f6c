// The frame of the page: navigation, whose page it is, and what has not been saved yet.

import { showActivity } from "./activity.js";
import { ApiError, chooseModel, isReachable, model, models, unreachable } from "./api.js";
import { announce, fill, focus, h, newId } from "./dom.js";
import { flush, waiting } from "./outbox.js";
import { loadStrings, t } from "./strings.js";

const RETRY_MS = 3000;
const VIEWS = ["record", "correct", "learn", "history", "transcribe", "words"];

let leave = () => {};
let shown = 0;
let retry = 0;

function draw() {
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
  fill(document.getElementById("nav"), h("ul", {}, VIEWS.map((name) => h("li", {}, h("a", { href: `#${name}` }, t(`nav.${name}`))))));
  document.getElementById("skip").addEventListener("click", () => focus(document.getElementById("main")));
}

async function show(isFirst = false) {
  const name = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : VIEWS[0];
  const number = ++shown;
  clearTimeout(retry);
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${t(`nav.${name}`)} · asr-edge`;
  const box = h("div", { "data-view": name });
  fill(document.getElementById("main"), box);
  try {
    const view = await import(`./views/${name}.js`).catch(notLoaded);
    if (number !== shown) return;
    const stop = await view.show(box);
    if (number === shown) showActivity(name);
    if (number === shown) leave = stop ?? (() => {});
    else stop?.();
  } catch (error) {
    if (number === shown && error.status !== 401) failed(box, name, error);
  }
  if (number === shown && !isFirst) focus(document.querySelector("#main h1"));
  box.dataset.ready = "";
}

/** A module was not loaded: the program has ended, or the module has a mistake. */
async function notLoaded(error) {
  throw await isReachable() ? error : unreachable();
}

/** Shows why there is no view; goes on when the program runs again. */
function failed(box, name, error) {
  fill(box, h("h1", {}, t(`nav.${name}`)), h("div", { class: "notice bad", role: "alert" },
    error.status === 0 ? null : h("p", {}, t("failed")),
    h("p", {}, error.message),
    error.status === 0 ? h("p", {}, t("offline.retry")) : null,
    h("button", { type: "button", onclick: () => show() }, t("again"))));
  if (error.status === 0) retry = setTimeout(() => retryLater(shown), RETRY_MS);
}

async function retryLater(number) {
  const isBack = await isReachable();
  if (number !== shown) return;
  if (!isBack) retry = setTimeout(() => retryLater(number), RETRY_MS);
  else {
    show();
    flush();
  }
}

/** Shows what a button of a view could not do, where the view itself does not. */
function showFailure(event) {
  if (!(event.reason instanceof ApiError) || event.reason.status === 401) return;
  event.preventDefault();
  const notice = h("div", { class: "notice bad", role: "alert" }, h("p", {}, event.reason.status === 0 ? null : t("failed"), " ", event.reason.message),
    h("button", { type: "button", onclick: () => notice.remove() }, t("close")));
  const heading = document.querySelector("#main h1");
  document.querySelector("#failure")?.remove();
  notice.id = "failure";
  heading?.after(notice);
  notice.scrollIntoView({ block: "nearest" });
}

/** A file that is dropped beside its place does not replace the page. */
function keepPage(event) {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
}

async function showWaiting() {
  const count = await waiting();
  const line = document.getElementById("outbox");
  const text = count ? t("outbox.waiting", { n: count }) : t("outbox.empty");
  if (line.textContent === text) return;
  if (line.textContent && !count) announce(text);
  line.textContent = text;
}

async function choosePerson() {
  const names = await models().catch(() => []);
  if (names.length && !names.includes(model())) {
    chooseModel(names[0]);
    show(true);
  }
  if (names.length < 2) return;
  const id = newId();
  const select = h("select", { id, onchange: () => { chooseModel(select.value); show(); } },
    names.map((name) => h("option", { value: name, selected: name === model() },
      name.includes(":") ? name.slice(name.indexOf(":") + 1) : t("person.main"))));
  fill(document.getElementById("person"), h("div", { class: "row" }, h("label", { for: id }, t("person.label")), select));
}

async function signIn() {
  const view = await import("./views/signin.js");
  shown++;
  leave();
  leave = () => {};
  view.show(document.getElementById("main"), () => { flush(); show(); choosePerson(); });
}

await loadStrings();
draw();
window.addEventListener("hashchange", () => show());
window.addEventListener("unhandledrejection", showFailure);
for (const name of ["dragover", "drop"]) window.addEventListener(name, keepPage);
window.addEventListener("asr-edge:outbox", showWaiting);
window.addEventListener("asr-edge:sign-in", signIn);
await show(true);
showWaiting();
flush();
choosePerson();
for (const name of VIEWS) import(`./views/${name}.js`).catch(() => {}); // so that each is there when the program has ended
