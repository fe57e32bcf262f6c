// The texts of the page, from one file. To translate the page, add strings.xx.json and choose it here.

let texts = {};

/** Loads the texts. */
export async function loadStrings() {
  texts = await (await fetch("/page/static/strings.en.json")).json();
}

/** A text with its values: t("a.key", {n: 3}). With n of 1, "a.key.one" is used if there is one. */
export function t(key, values = {}) {
  const one = values.n === 1 ? texts[`${key}.one`] : undefined;
  const text = one ?? texts[key];
  if (text === undefined) throw new Error(`there is no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Whether there is a text. */
export const has = (key) => key in texts;

/** A moment as a date and a time of the person's region. */
export const when = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/** Words that were wrong in 100, from a fraction. */
export const wrongIn100 = (wer) => roundedIn100(wer).toLocaleString();

/** The same as a number, rounded as it is shown. */
export const roundedIn100 = (wer) => Number((100 * wer).toFixed(wer < 0.1 ? 1 : 0));

/** Seconds as minutes and seconds. */
export function duration(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Seconds as "40 seconds" or "3 minutes". */
export const spoken = (seconds) => (seconds < 90 ? t("time.seconds", { n: Math.round(seconds) }) : t("time.minutes", { n: Math.round(seconds / 60) }));

/** Seconds as "1 minute and 12 seconds", without decimals. */
export function exactly(seconds) {
  const whole = Math.round(seconds);
  const [minutes, rest] = [Math.floor(whole / 60), t("time.seconds", { n: whole % 60 })];
  if (!minutes) return rest;
  return whole % 60 ? t("time.both", { minutes: t("time.minutes", { n: minutes }), seconds: rest }) : t("time.minutes", { n: minutes });
}
