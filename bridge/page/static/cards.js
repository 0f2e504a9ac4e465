// The calls in progress, a card each: who speaks, how loud, how late, and the last of what was said.

import { arrange, by, el, say, set } from "./dom.js";
import { length, line, link, meter, pauseButton, role, short, showLevel, showPause, state, who } from "./people.js";
import { calls, live, said } from "./store.js";
import { millis, word } from "./words.js";

const LINES = 6;
const cards = new Map();

export function showCards(ask) {
  const shown = live.map((id) => calls.get(id)).filter(Boolean);
  const ids = new Set(live);
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  const wanted = shown.map((call) => {
    if (!cards.has(call.id)) cards.set(call.id, new Card(ask));
    const card = cards.get(call.id);
    card.show(call);
    return card.node;
  });
  arrange(by("cards"), wanted);
  by("no-calls").hidden = wanted.length > 0;
}

export function showTalkOn(call) {
  if (calls.has(call)) cards.get(call)?.talk(calls.get(call));
}

export const focused = () => document.activeElement?.closest?.(".card")?.dataset.call ?? null;

class Card {
  constructor(ask) {
    this.title = el("a", { class: "title" });
    this.rule = el("span", { class: "rule" });
    this.age = el("span", { class: "age" });
    this.button = pauseButton(ask);
    this.legs = el("div", { class: "legs" });
    this.note = el("p", { class: "note", hidden: true });
    this.lines = el("ol", { class: "lines" });
    this.rows = new Map();
    const head = el("div", { class: "card-head" }, this.rule, this.title, this.age, this.button);
    this.node = el("li", { class: "card" }, head, this.legs, this.note, this.lines);
  }

  show(call) {
    this.node.dataset.call = call.id;
    set(this.node, "class", `card${call.paused ? " is-paused" : ""}${call.reasons?.length ? " is-partial" : ""}`);
    say(this.rule, call.rule || word("noRule"));
    say(this.title, short(call.id));
    set(this.title, "href", link(call));
    set(this.title, "aria-label", word("detailsOf", short(call.id)));
    say(this.age, length(call));
    showPause(this.button, call);
    const note = call.paused ? "pausedNote" : call.hidden ? "hiddenNote" : "";
    this.note.hidden = !note;
    if (note) say(this.note, word(note));
    const ids = new Set(call.legs.map((leg) => leg.leg));
    for (const id of this.rows.keys()) if (!ids.has(id)) this.rows.delete(id);
    arrange(this.legs, call.legs.map((leg) => this.leg(leg)));
    this.talk(call);
  }

  leg(leg) {
    if (!this.rows.has(leg.leg)) this.rows.set(leg.leg, new LegRow());
    return this.rows.get(leg.leg).show(leg);
  }

  talk(call) {
    const lines = said(call).slice(-LINES);
    const text = JSON.stringify([document.documentElement.lang, lines.map((one) => [one.leg, one.text, one.final])]);
    if (text === this.drawn) return;
    this.drawn = text;
    this.lines.replaceChildren(...lines.map((one) => line(call, one)));
    this.lines.scrollTop = this.lines.scrollHeight;
  }
}

class LegRow {
  constructor() {
    this.role = el("span", { class: "speaker" });
    this.who = el("span", { class: "who" });
    this.meter = meter();
    this.state = el("span", { class: "state" });
    this.mode = el("span", { class: "mode" });
    this.latency = el("span", { class: "latency" });
    this.node = el("div", {}, this.role, this.who, this.meter, this.state, this.mode, this.latency);
  }

  show(leg) {
    set(this.node, "class", `leg ${leg.role} ${leg.state}`);
    say(this.role, role(leg));
    say(this.who, who(leg));
    set(this.who, "title", who(leg));
    showLevel(this.meter, leg);
    say(this.state, state(leg));
    say(this.mode, word(leg.mode));
    say(this.latency, millis(leg.latency_ms));
    set(this.latency, "aria-label", word("latencyLong", millis(leg.latency_ms)));
    return this.node;
  }
}
