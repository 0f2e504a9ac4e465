// A call's timeline as a picture: time from left to right, a band for the PBX, one for each leg, one for what
// was ordered. The list beside it says the same in words.

import { say, svg } from "./dom.js";
import { role, who } from "./people.js";
import { what } from "./phrases.js";
import { clock, moment, word } from "./words.js";

const LABEL = 132;
const RIGHT = 18;
const AXIS = 26;
const BAND = 30;
const LEG = 78;
const STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map((s) => s * 1000);

export function draw(box, call, roleOf) {
  const width = Math.max(480, box.clientWidth);
  const timeline = call.timeline ?? [];
  const ends = timeline.map((entry) => Math.max(entry.at_ms, entry.data?.end_ms ?? 0));
  const total = Math.max(1000, call.age_ms ?? 0, ...ends);
  const x = (ms) => LABEL + (Math.min(Math.max(ms, 0), total) / total) * (width - LABEL - RIGHT);
  const bands = layout(call);
  const height = bands.at(-1).bottom + 8;
  const title = svg("title", { id: "picture-title" }, word("timelineTitle"));
  const description = svg("desc", { id: "picture-desc" }, word("pictureOf", clock(total), timeline.length));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-labelledby": "picture-title picture-desc" }, title, description, hatches(), ...axis(x, total, width, height));
  for (const band of bands) picture.append(...backdrop(band, width));
  for (const stretch of [...sessions(call, timeline, total), ...pauses(call, timeline, total)]) {
    picture.append(...stretched(stretch, bands, x));
  }
  for (const entry of timeline) picture.append(...marks(entry, bands, x, call, roleOf));
  if (call.state === "live") picture.append(svg("line", { class: "now", x1: x(total), x2: x(total), y1: AXIS, y2: height }));
  box.replaceChildren(picture);
  clip(picture);
}

// A session lasts from the note that it was opened to the leg's next one on sessions, or on.
function sessions(call, timeline, total) {
  return call.legs.flatMap((leg) => {
    const notes = timeline.filter((entry) => entry.kind === "session" && entry.leg === leg.leg);
    return notes.flatMap((entry, at) => (entry.what === "session opened"
      ? [{ kind: "session", leg: leg.leg, start: entry.at_ms, end: notes[at + 1]?.at_ms ?? total }] : []));
  });
}

// A pause lasts from the order to the next that ends it, and is that of every leg.
function pauses(call, timeline, total) {
  const orders = timeline.filter((entry) => entry.kind === "order" && typeof entry.data?.paused === "boolean");
  return orders.flatMap((entry, at) => (entry.data.paused
    ? call.legs.map((leg) => ({ kind: "paused", leg: leg.leg, start: entry.at_ms, end: orders[at + 1]?.at_ms ?? total })) : []));
}

function stretched({ kind, leg, start, end }, bands, x) {
  const band = bands.find((one) => one.name === leg);
  const told = svg("title", {}, `${word(kind)} ${moment(start)} – ${moment(end)}`);
  const width = Math.max(2, x(end) - x(start));
  const place = kind === "session" ? { y: band.bottom - 14, height: 6, rx: 3 } : { y: band.top + 4, height: band.bottom - band.top - 8, rx: 4 };
  return [svg("rect", { class: kind, x: x(start), width, ...place }, told)];
}

// From top to bottom; a leg's band holds packets, its utterances, and its sessions.
function layout(call) {
  let top = AXIS;
  const band = (name, tall, more) => {
    const made = { name, top, bottom: top + tall, ...more };
    top += tall + 4;
    return made;
  };
  return [
    band("pbx", BAND, { label: word("pbx") }),
    ...call.legs.map((leg) => band(leg.leg, LEG, { label: role(leg), under: who(leg), role: leg.role })),
    band("order", BAND, { label: word("order") }),
  ];
}

function backdrop(band, width) {
  const middle = (band.top + band.bottom) / 2;
  const parts = [
    svg("rect", { class: "band", x: 0, y: band.top, width, height: band.bottom - band.top, rx: 6 }),
    svg("text", { class: `label ${band.role ?? ""}`, x: 12, y: band.under ? middle - 3 : middle + 4.5 }, band.label),
  ];
  if (band.under) parts.push(svg("text", { class: "under", x: 12, y: middle + 15, "data-room": LABEL - 20 }, band.under));
  return parts;
}

function axis(x, total, width, height) {
  const step = STEPS_MS.find((one) => (width - LABEL) / (total / one) >= 64) ?? STEPS_MS.at(-1);
  const parts = [];
  for (let at = 0; at <= total; at += step) {
    parts.push(svg("line", { class: "tick", x1: x(at), x2: x(at), y1: AXIS - 6, y2: height }));
    parts.push(svg("text", { class: "time", x: x(at), y: 14, "text-anchor": at ? "middle" : "start" }, clock(at)));
  }
  return parts;
}

function marks(entry, bands, x, call, roleOf) {
  const { at_ms: at, kind, leg, data } = entry;
  const band = bands.find((one) => one.name === leg) ?? bands.find((one) => one.name === kind) ?? bands[0];
  const own = bands.find((one) => one.name === kind);
  const start = Number.isFinite(data?.start_ms) ? data.start_ms : at;
  const end = Number.isFinite(data?.end_ms) ? data.end_ms : null;
  const told = svg("title", {}, `${moment(start)} ${word(kind)}: ${what(entry)}${data?.text ? ` “${data.text}”` : ""}`);
  const place = kind === "pbx" || kind === "order" ? own : band;
  const middle = (place.top + place.bottom) / 2;
  if (end !== null) return span(entry, place, x(start), Math.max(3, x(end) - x(start)), roleOf(call, leg), told);
  if (kind === "utterance") return span(entry, place, x(start), 3, roleOf(call, leg), told);
  if (kind === "session") return [diamond(x(at), place.bottom - 11, told)];
  if (kind === "packets") return [svg("circle", { class: "dot packets", cx: x(at), cy: place.top + 11, r: 4 }, told)];
  if (kind === "gap") return [svg("rect", { class: "gap", x: x(at) - 2, y: place.top + 4, width: 4, height: place.bottom - place.top - 8 }, told)];
  return [svg("circle", { class: `dot ${kind}`, cx: x(at), cy: middle, r: 5 }, told)];
}

const diamond = (x, y, told) => svg("path", { class: "dot session", d: `M${x} ${y - 6}l6 6-6 6-6-6z` }, told);

function span(entry, band, x, width, speaker, told) {
  const { kind, data } = entry;
  if (kind === "utterance") {
    const bar = svg("rect", { class: `utterance ${speaker}`, x, y: band.top + 22, width, height: 28, rx: 5 }, told);
    const text = width > 36 && data.text
      ? [svg("text", { class: `spoken ${speaker}`, x: x + 7, y: band.top + 41, "data-room": width - 12 }, data.text)] : [];
    return [bar, ...text];
  }
  const whole = { x, y: band.top + 4, width, height: band.bottom - band.top - 8, rx: 4 };
  return [svg("rect", { class: kind === "gap" ? "gap" : `stretch ${kind}`, ...whole }, told)];
}

// Text that is longer than its place is cut, and can be had whole where the pointer rests.
function clip(picture) {
  for (const node of picture.querySelectorAll("[data-room]")) {
    const room = Number(node.dataset.room);
    const whole = [...node.textContent];
    let kept = whole.length;
    while (kept > 0 && node.getComputedTextLength() > room) {
      kept -= Math.max(1, Math.floor(kept / 8));
      say(node, kept > 0 ? `${whole.slice(0, kept).join("")}…` : "");
    }
  }
}

function hatches() {
  const lines = svg("path", { d: "M-2 2l4-4M0 8l8-8M6 10l4-4", class: "hatch" });
  return svg("defs", {}, svg("pattern", { id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse" }, lines));
}
