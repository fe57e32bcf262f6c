// On another machine: asks once for the token.

import { field, fill, h } from "../dom.js";
import { t } from "../strings.js";

export function show(main, onDone) {
  const input = h("input", { type: "password", autocomplete: "current-password", required: true });
  const message = h("p", { role: "alert" });
  async function submit(event) {
    event.preventDefault();
    const response = await fetch("/page/sign-in", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: input.value.trim() }),
    }).catch(() => null);
    const isIn = response?.ok && (await fetch("/v1/models", { cache: "no-store" })).ok;
    if (isIn) onDone();
    else message.textContent = t(response ? "signin.wrong" : "offline.service");
  }
  fill(main, h("h1", {}, t("signin.title")), h("p", { class: "intro" }, t("signin.intro")),
    h("form", { class: "card", onsubmit: submit }, field(t("signin.token"), input), message,
      h("button", { class: "primary", type: "submit" }, t("signin.submit"))));
  input.focus();
}
