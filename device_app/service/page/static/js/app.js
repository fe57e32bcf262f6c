// The frame of the page: navigation, whose page it is, and what has not been saved yet.

import { showActivity } from "./activity.js";
import { chooseModel, model, models } from "./api.js";
import { announce, fill, focus, h, newId } from "./dom.js";
import { flush, waiting } from "./outbox.js";
import { loadStrings, t } from "./strings.js";

const VIEWS = ["record", "correct", "learn", "history", "transcribe", "words"];

let leave = () => {};
let shown = 0;

function draw() {
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
  fill(document.getElementById("nav"), h("ul", {}, VIEWS.map((name) => h("li", {}, h("a", { href: `#${name}` }, t(`nav.${name}`))))));
  document.getElementById("skip").addEventListener("click", () => focus(document.getElementById("main")));
}

async function show(isFirst = false) {
  const name = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : VIEWS[0];
  const number = ++shown;
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${t(`nav.${name}`)} · asr-edge`;
  const box = h("div", { "data-view": name });
  fill(document.getElementById("main"), box);
  const view = await import(`./views/${name}.js`);
  if (number !== shown) return;
  try {
    const stop = await view.show(box);
    if (number === shown) showActivity(name);
    if (number === shown) leave = stop ?? (() => {});
    else stop?.();
  } catch (error) {
    if (number === shown && error.status !== 401) failed(box, error);
  }
  if (number === shown && !isFirst) focus(document.querySelector("#main h1"));
  box.dataset.ready = "";
}

function failed(box, error) {
  box.append(h("div", { class: "notice bad", role: "alert" },
    h("p", {}, error.status === 0 ? t("offline.service") : t("failed")),
    error.message ? h("p", { class: "small" }, error.message) : null,
    h("button", { type: "button", onclick: () => show() }, t("again"))));
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
window.addEventListener("asr-edge:outbox", showWaiting);
window.addEventListener("asr-edge:sign-in", signIn);
await show(true);
showWaiting();
flush();
choosePerson();
