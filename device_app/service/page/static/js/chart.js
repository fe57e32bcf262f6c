// The picture of how many words were wrong, version by version: uPlot.

import uPlot from "/page/static/vendored/uplot/uPlot.esm.js";
import { h } from "./dom.js";
import { t, wrongIn100 } from "./strings.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const DASHES = [[], [8, 5], [2, 4], [12, 4, 2, 4]]; // lines differ by more than their colour

/** Draws the chart into a box; returns a function that removes it. */
export function chart(box, versions, names, general) {
  if (!document.getElementById("uplot-css")) {
    document.head.append(h("link", { id: "uplot-css", rel: "stylesheet", href: "/page/static/vendored/uplot/uPlot.min.css" }));
  }
  const own = names.filter((name) => name !== general);
  const label = (name) => (name === general ? t("scores.everyone") : own.length > 1 ? t("scores.mine.of", { name }) : t("scores.mine"));
  const colours = ["--accent", "--good", "--bad", "--text"].map(colour);
  const ordered = [...own, ...names.filter((name) => name === general)];
  const lines = ordered.map((name) => versions.map((version) => (version.wer[name] === undefined ? null : 100 * version.wer[name])));
  const days = new Set(versions.slice(1).map((version) => new Date(version.created).toDateString()));
  const style = days.size === 1 ? { timeStyle: "short" } : { day: "numeric", month: "short" };
  const moment = (version) => new Date(version.created).toLocaleString([], style);
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "13px system-ui, sans-serif" };
  const plot = new uPlot({
    width: box.clientWidth, height: 240, cursor: { drag: { x: false, y: false } }, legend: { live: false },
    scales: { x: { time: false, range: [-0.15, versions.length - 0.85] }, y: { range: (_, low, high) => [0, Math.max(5, high * 1.15)] } },
    axes: [{ ...axis, space: 80, incrs: [1, 2, 5, 10, 20, 50, 100], values: (_, at) => at.map((n) => (n === 0 ? t("history.first") : versions[n] ? moment(versions[n]) : "")) },
      { ...axis, size: 44 }],
    series: [{}, ...ordered.map((name, i) => ({ label: label(name), stroke: colours[i % 4], width: 2.5, dash: DASHES[i % 4], spanGaps: false,
      points: { show: true, size: 8, fill: colours[i % 4] } }))],
  }, [versions.map((_, i) => i), ...lines], box);
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", ordered.map((name) => {
    const known = versions.filter((version) => version.wer[name] !== undefined).map((version) => version.wer[name]);
    return t("history.picture.label", { name: label(name), first: wrongIn100(known[0]), last: wrongIn100(known.at(-1)) });
  }).join(" "));
  const watch = new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 240 }));
  watch.observe(box);
  return () => { watch.disconnect(); plot.destroy(); };
}
