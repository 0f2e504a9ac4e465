// How a call and those who speak in it are named and shown; what cards, rows and a call's own page share.

import { el, say, set } from "./dom.js";
import { why } from "./phrases.js";
import { clock, known, word } from "./words.js";

export const short = (id) => (id.length > 14 ? `${id.slice(0, 5)}…${id.slice(-6)}` : id);

export const role = (leg) => (known(leg.role) ? word(leg.role) : leg.role);

export const who = (leg) => [leg.name, leg.number].filter(Boolean).join(" ") || "–";

export const roleOf = (call, id) => call.legs.find((leg) => leg.leg === id)?.role ?? "";

export const state = (leg) => word(leg.state === "ended" ? "legEnded" : leg.state);

export const reasons = (call) => (call.reasons ?? []).map(why).join(", ");

export function verdict(call) {
  if (call.state === "live") {
    const lost = reasons(call);
    return word(call.paused ? "paused" : "live") + (lost ? `; ${word("partial")}: ${lost}` : "");
  }
  return [word(call.verdict || "ended"), reasons(call)].filter(Boolean).join(": ");
}

// A line of what was said, with who says it in words and not by colour alone.
export function line(call, spoken, extra) {
  const leg = call.legs.find((one) => one.leg === spoken.leg);
  return el("li", { class: `said ${leg?.role ?? ""}${spoken.final ? "" : " partial"}`, "data-leg": spoken.leg },
    extra ?? null,
    el("span", { class: "speaker" }, leg ? role(leg) : ""),
    el("span", { class: "words" }, spoken.text));
}

const QUIETEST_DB = -60;

export const meter = () =>
  el("div", { class: "meter", role: "meter", "aria-valuemin": QUIETEST_DB, "aria-valuemax": 0 }, el("i"));

export function showLevel(node, leg) {
  const db = leg.level_db === null || leg.state === "ended" ? QUIETEST_DB : Math.min(0, Math.max(QUIETEST_DB, leg.level_db));
  node.firstChild.style.setProperty("--level", String(1 - db / QUIETEST_DB));
  set(node, "aria-label", word("level", role(leg)));
  set(node, "aria-valuenow", Math.round(db));
  set(node, "aria-valuetext", db > QUIETEST_DB ? `${Math.round(db)} dB` : word("silent"));
}

// One button, two meanings; `ask` is what sends it.
export function pauseButton(ask) {
  const button = el("button", { type: "button", class: "pause" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    await ask(button.dataset.call, button.dataset.does);
    button.disabled = false;
    button.focus({ preventScroll: true });
  });
  return button;
}

export function showPause(button, call) {
  button.dataset.call = call.id;
  button.dataset.does = call.paused ? "resume" : "pause";
  say(button, word(button.dataset.does));
  set(button, "aria-label", word(call.paused ? "resumeCall" : "pauseCall", short(call.id)));
  button.hidden = call.state !== "live";
}

export const length = (call) => clock(call.age_ms);

export const link = (call) => `#/call/${encodeURIComponent(call.id)}`;
