// Calls that are over: newest first, and those that hold what is searched for.

import { arrange, by, el, say, set } from "./dom.js";
import { length, link, role, short, verdict, who } from "./people.js";
import { calls, said } from "./store.js";
import { time, won, word } from "./words.js";

const PAGE = 50;
const rows = new Map();
let most = PAGE;

export const more = () => { most += PAGE; };

export const begin = () => { most = PAGE; };

export function showRecent() {
  const wanted = by("search").value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
  const over = [...calls.values()].filter((call) => call.state !== "live" && fits(call, wanted));
  over.sort((one, other) => (one.started < other.started ? 1 : -1));
  for (const id of rows.keys()) if (!calls.has(id)) rows.delete(id);
  arrange(by("rows"), over.slice(0, most).map(row));
  by("more").hidden = over.length <= most;
  say(by("found"), word("found", over.length));
}

// Every word has to be somewhere.
function fits(call, wanted) {
  if (!wanted.length) return true;
  const people = call.legs.flatMap((leg) => [leg.leg, leg.number, leg.name, role(leg)]);
  const text = [call.id, call.rule, verdict(call), ...people, ...said(call).map((line) => line.text)]
    .join("\n").normalize("NFC").toLowerCase();
  return wanted.every((one) => text.includes(one));
}

function row(call) {
  const text = JSON.stringify([document.documentElement.lang, call]);
  const drawn = rows.get(call.id);
  if (drawn?.text === text) return drawn.node;
  const last = said(call).at(-1)?.text ?? "";
  const cells = [
    el("th", { scope: "row" },
      el("a", { href: link(call), "aria-label": `${time(call.started)}, ${word("detailsOf", short(call.id))}` }, time(call.started))),
    el("td", {}, call.rule || "–"),
    el("td", {}, call.legs.map((leg) => `${role(leg)} ${who(leg)}`).join(" · ")),
    el("td", { class: "number" }, length(call)),
    el("td", { class: `verdict ${call.verdict}` }, verdict(call)),
    el("td", { class: "number" }, won(call.cost?.won)),
    el("td", { class: "last", title: last }, last),
  ];
  const node = drawn?.node ?? el("tr");
  const here = node.contains(document.activeElement);
  node.replaceChildren(...cells);
  if (here) node.querySelector("a").focus({ preventScroll: true });
  set(node, "data-call", call.id);
  rows.set(call.id, { text, node });
  return node;
}
