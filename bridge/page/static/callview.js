// A call's own page: the numbers of its legs, its timeline as a picture and as a list, and the conversation.

import { by, el, say, set } from "./dom.js";
import { length, line, meter, pauseButton, role, roleOf, short, showLevel, showPause, state, verdict, who } from "./people.js";
import { counted, detail, isKnown, what } from "./phrases.js";
import { draw } from "./picture.js";
import { said } from "./store.js";
import { millis, moment, number, seconds, time, won, word } from "./words.js";

const KINDS = ["pbx", "packets", "utterance", "session", "gap", "order"];
const COLUMNS = ["who", "state", "mode", "latency", "arrived", "sent", "lostMs", "pausedMs", "sessions", "packets"];

export class CallView {
  constructor(ask) {
    this.call = null;
    this.hidden = new Set();
    this.back = el("a", { href: "#/", class: "back" });
    this.title = el("h1", { id: "call-title", tabindex: "-1" });
    this.button = pauseButton(ask);
    this.facts = el("dl", { class: "facts" });
    this.note = el("p", { class: "note", hidden: true });
    this.legs = el("tbody");
    this.legsHead = el("tr");
    this.lines = el("ol", { class: "lines", tabindex: "0" });
    this.quiet = el("p", { class: "empty" });
    this.picture = el("div", { class: "picture" });
    this.kinds = el("fieldset", { class: "kinds" });
    this.eventsHead = el("tr");
    this.events = el("tbody");
    this.node = by("call");
    this.node.replaceChildren(...this.sections());
    new ResizeObserver(() => this.paint()).observe(this.picture);
  }

  sections() {
    const section = (key, ...content) => {
      const title = el("h2", { id: `${key}-title`, "data-word": key });
      return el("section", { class: "panel", "aria-labelledby": title.id }, title, ...content);
    };
    const table = (head, body, key) =>
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": `${key}-title` },
        el("table", {}, el("thead", {}, head), body));
    return [
      this.back,
      el("div", { class: "heading" }, this.title, this.button),
      this.note,
      this.facts,
      section("legsTitle", table(this.legsHead, this.legs, "legsTitle")),
      section("timelineTitle", this.picture),
      el("div", { class: "halves" },
        section("talkTitle", this.quiet, this.lines),
        section("eventsTitle", this.kinds, table(this.eventsHead, this.events, "eventsTitle"))),
    ];
  }

  // `call` with its timeline; null: there is none of this name.
  show(call) {
    this.call = call;
    this.labels();
    for (const node of [...this.node.children].slice(2)) node.classList.toggle("gone", call === null);
    this.button.hidden = call === null;
    say(this.title, call === null ? word("noCall") : word("callTitle", short(call.id)));
    if (call === null) return;
    set(this.title, "title", call.id);
    showPause(this.button, call);
    const note = call.paused ? "pausedNote" : call.hidden ? "hiddenNote" : "";
    this.note.hidden = !note;
    say(this.note, note ? word(note) : "");
    this.showFacts(call);
    this.showLegs(call);
    this.showEvents(call);
    this.talk();
    this.paint();
  }

  labels() {
    say(this.back, `← ${word("back")}`);
    for (const title of this.node.querySelectorAll("h2")) say(title, word(title.dataset.word));
    set(this.lines, "aria-label", word("talkTitle"));
    if (this.spoken === document.documentElement.lang) return;
    this.spoken = document.documentElement.lang;
    const head = (key) => el("th", { scope: "col" }, word(key));
    this.legsHead.replaceChildren(...COLUMNS.map(head));
    this.eventsHead.replaceChildren(el("th", { scope: "col", class: "number" }, word("when")), ...["kind", "who", "what"].map(head));
    this.kinds.replaceChildren(el("legend", { class: "hidden" }, word("show")), ...KINDS.map((kind) => this.box(kind)));
  }

  box(kind) {
    const box = el("input", { type: "checkbox", checked: !this.hidden.has(kind) });
    box.addEventListener("change", () => {
      if (box.checked) this.hidden.delete(kind);
      else this.hidden.add(kind);
      this.showEvents(this.call);
    });
    return el("label", { class: `kind ${kind}` }, box, word(kind));
  }

  showFacts(call) {
    const facts = [
      ["rule", call.rule || word("noRule")],
      ["started", time(call.started)],
      ["length", length(call)],
      ["verdict", verdict(call), call.verdict],
      ["cost", won(call.cost?.won)],
      ["ID", call.id],
      ...(call.deliveries?.length ? [["deliveriesOf", call.deliveries.map(owed).join(", "), null]] : []),
    ];
    this.facts.replaceChildren(...facts.map(([key, text, kind]) =>
      el("div", {}, el("dt", {}, word(key)), el("dd", { class: kind ? `verdict ${kind}` : null }, text))));
  }

  showLegs(call) {
    this.legs.replaceChildren(...call.legs.map((leg) => {
      const level = meter();
      showLevel(level, leg);
      const packets = counted(leg.packets ?? {});
      const speaker = el("th", { scope: "row", class: leg.role, title: who(leg) }, el("span", { class: "speaker" }, role(leg)), ` ${who(leg)}`, level);
      const rest = [state(leg), word(leg.mode), millis(leg.latency_ms), seconds(leg.arrived_ms), seconds(leg.sent_ms),
        seconds(leg.lost_ms), seconds(leg.paused_ms), number(leg.sessions), packets || "–"];
      const cells = rest.map((text, at) => el("td", { class: at === 5 && leg.lost_ms ? "bad" : null }, text));
      return el("tr", {}, speaker, ...cells);
    }));
  }

  // Rows are kept as long as nothing changes before them, for whoever reads there.
  showEvents(call) {
    const shown = (call?.timeline ?? []).filter((entry) => !this.hidden.has(entry.kind));
    const texts = shown.map((entry) => JSON.stringify([this.spoken, entry]));
    const had = [...this.events.children];
    let same = 0;
    while (same < had.length && same < texts.length && had[same].entry === texts[same]) same += 1;
    for (const row of had.slice(same)) row.remove();
    this.events.append(...shown.slice(same).map((entry, at) => {
      const speaker = call.legs.find((leg) => leg.leg === entry.leg);
      const row = el("tr", { class: entry.kind },
        el("td", { class: "number" }, moment(entry.at_ms)),
        el("td", {}, el("span", { class: `kind ${entry.kind}` }, word(entry.kind))),
        el("td", { class: speaker?.role ?? "" }, speaker ? role(speaker) : ""),
        el("td", {}, el("span", { lang: isKnown(entry) ? null : "en" }, what(entry)), quoted(entry), more(entry)));
      row.entry = texts[same + at];
      return row;
    }));
  }

  talk() {
    if (this.call === null) return;
    const lines = said(this.call);
    this.quiet.hidden = lines.length > 0;
    say(this.quiet, word(this.call.hidden ? "hiddenNote" : "nothingSaid"));
    const text = JSON.stringify([this.spoken, this.call.id, lines]);
    if (text === this.drawn) return;
    this.drawn = text;
    const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 60;
    this.lines.replaceChildren(...lines.map((one) => line(this.call, one,
      el("time", {}, Number.isFinite(one.start_ms) && one.start_ms >= 0 ? moment(one.start_ms) : "…"))));
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }

  paint() {
    if (this.call !== null && this.picture.clientWidth > 0) draw(this.picture, this.call, roleOf);
  }
}

// How many events of the call an endpoint has yet to get.
const owed = (one) => `${one.name} ${number(one.waiting)}${one.waiting && one.error ? ` (${one.error})` : ""}`;

function more(entry) {
  const text = detail(entry);
  return text ? el("span", { class: "detail" }, text) : null;
}

function quoted(entry) {
  return typeof entry.data?.text === "string" && entry.data.text ? el("q", {}, entry.data.text) : null;
}
