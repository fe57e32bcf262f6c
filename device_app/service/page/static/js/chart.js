// The picture of how many words were wrong, version by version: uPlot.

import uPlot from "/page/static/vendored/uplot/uPlot.esm.js";
import { colour, onSchemeChange } from "./colours.js";
import { h } from "./dom.js";
import { t, wrongIn100 } from "./strings.js";

const DASHES = [[], [8, 5], [2, 4], [12, 4, 2, 4]]; // lines differ by more than their colour

/** Draws the chart into a box; returns a function that removes it. */
export function chart(box, versions, names, general) {
  if (!document.getElementById("uplot-css")) {
    document.head.append(h("link", { id: "uplot-css", rel: "stylesheet", href: "/page/static/vendored/uplot/uPlot.min.css" }));
  }
  const own = names.filter((name) => name !== general);
  const label = (name) => (name === general ? t("scores.everyone") : own.length > 1 ? t("scores.mine.of", { name }) : t("scores.mine"));
  const ordered = [...own, ...names.filter((name) => name === general)];
  const lines = ordered.map((name) => versions.map((version) => (version.wer[name] === undefined ? null : 100 * version.wer[name])));
  const labels = (_, at) => momentLabels(at.map((n) => (n > 0 ? versions[n]?.created : undefined))).map((text, i) => (at[i] === 0 ? t("history.first") : text));
  let plot = drawn();
  function drawn() {
    const colours = ["--accent", "--good", "--bad", "--text"].map(colour);
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "13px system-ui, sans-serif" };
    return new uPlot({
      width: box.clientWidth, height: 240, cursor: { drag: { x: false, y: false } }, legend: { live: false, markers: { width: 0, fill: (_, i) => (i ? colours[(i - 1) % 4] : null) } },
      scales: { x: { time: false, range: [-0.15, versions.length - 0.85] }, y: { range: (_, low, high) => [0, Math.max(5, high * 1.15)] } },
      axes: [{ ...axis, space: 80, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100], values: labels },
        { ...axis, size: 44 }],
      series: [{}, ...ordered.map((name, i) => ({ label: label(name), stroke: colours[i % 4], width: 2.5, dash: DASHES[i % 4], spanGaps: false,
        points: { show: true, size: 8, fill: colours[i % 4] } }))],
    }, [versions.map((_, i) => i), ...lines], box);
  }
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", ordered.map((name) => {
    const known = versions.filter((version) => version.wer[name] !== undefined).map((version) => version.wer[name]);
    return t("history.picture.label", { name: label(name), first: wrongIn100(known[0]), last: wrongIn100(known.at(-1)) });
  }).join(" "));
  const watch = new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 240 }));
  watch.observe(box);
  const forget = onSchemeChange(() => { plot.destroy(); plot = drawn(); });
  return () => { forget(); watch.disconnect(); plot.destroy(); };
}

/**
 * Labels of moments in their order, none of which says the same as the one before: the time, and under it the day
 * where it is another day. Where all are of different days, only the day; seconds only where two are of one minute.
 * @param {Array<string|undefined>} moments ISO 8601; undefined gives "".
 */
export function momentLabels(moments) {
  const dates = moments.map((moment) => moment && new Date(moment));
  const known = dates.filter(Boolean);
  const minute = (date) => Math.floor(date / 60_000);
  const hasYears = new Set(known.map((date) => date.getFullYear())).size > 1;
  const day = (date) => date.toLocaleDateString([], { day: "numeric", month: "short", year: hasYears ? "numeric" : undefined });
  const isDaily = new Set(known.map((date) => date.toDateString())).size === known.length;
  let last = "";
  return dates.map((date) => {
    if (!date) return "";
    const isShared = known.filter((one) => minute(one) === minute(date)).length > 1;
    const time = date.toLocaleTimeString([], { timeStyle: isShared ? "medium" : "short" });
    const isSameDay = day(date) === last;
    last = day(date);
    return isDaily && known.length > 1 ? last : isSameDay ? time : `${time}\n${last}`;
  });
}
