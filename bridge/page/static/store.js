// What the page knows of calls and of what was said in them. Bounded, and nothing of it is drawn here.

const MOST_CALLS = 700;
const MOST_LINES = 300;

export const calls = new Map();
export let live = [];
export let status = null;

const talks = new Map(); // call -> { lines: Map(key -> line), partials: Map(leg -> line) }

function talk(call) {
  if (!talks.has(call)) talks.set(call, { lines: new Map(), partials: new Map() });
  return talks.get(call);
}

export function take(state) {
  status = state.status;
  live = state.live;
  for (const call of state.calls) calls.set(call.id, call);
  const going = new Set(live);
  const over = [...calls.values()].filter((call) => !going.has(call.id));
  over.sort((one, other) => (one.started < other.started ? -1 : 1));
  for (const call of over.slice(0, Math.max(0, calls.size - MOST_CALLS))) calls.delete(call.id);
  for (const id of talks.keys()) if (!calls.has(id)) talks.delete(id);
}

export function forget() {
  calls.clear();
  talks.clear();
  live = [];
  status = null;
}

const key = (line) => `${line.leg} ${line.start_ms}`;

// A final replaces what its leg was just saying; one that came already is the same line.
export function hear(line) {
  const { lines, partials } = talk(line.call);
  if (!line.final) {
    if (!lines.has(key(line))) partials.set(line.leg, line);
    return;
  }
  if (!line.late) partials.delete(line.leg);
  lines.set(key(line), line);
  if (lines.size > MOST_LINES) lines.delete(lines.keys().next().value);
}

// What a call's timeline has of what was said before this page was opened.
export function recall(call) {
  const { lines } = talk(call.id);
  for (const { kind, leg, at_ms, data } of call.timeline ?? []) {
    if (kind !== "utterance" || typeof data?.text !== "string" || !data.text) continue;
    const line = { call: call.id, leg, text: data.text, start_ms: data.start_ms ?? at_ms, end_ms: data.end_ms, final: true };
    if (!lines.has(key(line))) lines.set(key(line), line);
  }
}

// The lines of a call in the order in which they were begun, what is being said now last.
export function said(call) {
  const { lines, partials } = talk(call.id);
  const heard = new Set([...lines.values()].map((line) => line.leg));
  const told = call.legs
    .filter((leg) => leg.last && !heard.has(leg.leg))
    .map((leg) => ({ call: call.id, leg: leg.leg, text: leg.last, start_ms: -1, final: true }));
  const finals = [...told, ...lines.values()].sort((one, other) => one.start_ms - other.start_ms);
  return [...finals, ...(call.state === "live" ? saying(call, partials) : [])];
}

function saying(call, partials) {
  return call.legs.flatMap((leg) => {
    const text = leg.state === "paused" ? "" : partials.get(leg.leg)?.text || "";
    return text ? [{ call: call.id, leg: leg.leg, text, start_ms: Infinity, final: false }] : [];
  });
}
