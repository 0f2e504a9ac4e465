// The live page: what is shown when, what is asked of the daemon, and what it sends.

import { CallView } from "./callview.js";
import { focused, showCards, showTalkOn } from "./cards.js";
import { by, el, say, set } from "./dom.js";
import { link, role } from "./people.js";
import { unready } from "./phrases.js";
import * as recent from "./recent.js";
import * as store from "./store.js";
import { current, millis, number, preferred, remember, remembered, seconds, speak, won, word } from "./words.js";

const REFRESH_MS = 2000;
const RECALLED_AT_ONCE = 24;
let stream = null;
let opened = null; // the id of the call whose own page this is
let asked = 0;
let visits = 0;
let view = null;
const recalled = new Set();
const dirty = new Set();

// ---- asking

async function ask(path, post = false) {
  try {
    const answer = await fetch(path, { method: post ? "POST" : "GET", headers: { accept: "application/json" } });
    if (answer.status === 401) showLogin();
    return answer;
  } catch {
    return null; // the stream says that the connection is lost
  }
}

const path = (id) => `api/calls/${encodeURIComponent(id)}`;

async function order(id, what) {
  const answer = await ask(`${path(id)}/${what}`, true);
  if (!answer?.ok) return warn(word("pauseFailed"));
  const call = await answer.json();
  store.calls.set(call.id, { ...call, timeline: undefined });
  if (opened === call.id) view.show(call);
  else showCards(order);
}

function warn(text) {
  say(by("alert"), text);
  setTimeout(() => say(by("alert"), ""), 6000);
}

// What was said in calls that were there before this page was.
async function recall() {
  const missing = store.live.filter((id) => !recalled.has(id)).slice(0, RECALLED_AT_ONCE);
  for (const id of missing) recalled.add(id);
  for (const id of missing) {
    const answer = await ask(path(id));
    if (answer?.ok) store.recall(await answer.json());
    showTalkOn(id);
  }
  for (const id of recalled) if (!store.calls.has(id)) recalled.delete(id);
}

// ---- hearing

function listen() {
  stream?.close();
  stream = new EventSource("api/live");
  stream.addEventListener("open", () => {
    say(by("lost"), "");
    recalled.clear(); // what was said meanwhile is asked for
  });
  stream.addEventListener("state", ({ data }) => takeState(JSON.parse(data)));
  stream.addEventListener("said", ({ data }) => takeSaid(JSON.parse(data)));
  stream.addEventListener("error", () => lost());
}

async function lost() {
  say(by("lost"), word("lost"));
  if (stream?.readyState !== EventSource.CLOSED) return; // it comes again by itself
  const answer = await ask("api/status");
  if (answer?.status === 401) return;
  if (answer?.ok) say(by("lost"), word("full"));
  setTimeout(() => stream?.readyState === EventSource.CLOSED && listen(), 3000);
}

function takeState(state) {
  const going = new Set(state.live);
  if (opened !== null && store.live.includes(opened) && !going.has(opened)) asked = 0; // its end is told at once
  store.take(state);
  showFigures();
  if (opened === null) showOverview();
  else refresh();
  recall();
}

function takeSaid(line) {
  store.hear(line);
  if (line.final) announce(line);
  if (!dirty.size) requestAnimationFrame(() => {
    for (const id of dirty) {
      if (opened === null) showTalkOn(id);
      else if (opened === id) view.talk();
    }
    dirty.clear();
  });
  dirty.add(line.call);
}

// Read out are the finals of one call alone: the one that is open, that has the focus, or the only one.
function announce(line) {
  const one = opened ?? focused() ?? (store.live.length === 1 ? store.live[0] : null);
  const call = store.calls.get(line.call);
  if (line.call !== one || !call) return;
  const leg = call.legs.find((each) => each.leg === line.leg);
  by("heard").append(el("p", {}, `${leg ? role(leg) : ""}: ${line.text}`));
  while (by("heard").children.length > 20) by("heard").firstChild.remove();
}

// ---- showing

function figure(key, text, kind, share = null) {
  const bar = share === null ? null : el("i", { class: "share" });
  bar?.style.setProperty("--level", String(Math.min(1, share)));
  return el("div", { class: `figure ${kind ?? ""}` }, el("dt", {}, word(key)), el("dd", {}, text, bar));
}

function showFigures() {
  const now = store.status;
  if (now === null) return;
  const quota = now.sessions_quota;
  const share = quota ? now.sessions_open / quota : null;
  const parts = [
    figure("calls", number(now.calls)),
    figure("legs", number(now.legs)),
    figure("channels", quota ? `${number(now.sessions_open)} / ${number(quota)}` : number(now.sessions_open), share >= 0.9 ? "warn" : "", share),
    figure("wonToday", won(now.won_today)),
    figure("lostToday", seconds(now.lost_ms_today), now.lost_ms_today ? "bad" : ""),
    figure("pausedCalls", number(now.paused_calls ?? 0), now.paused_calls ? "warn" : ""),
    figure("deliveries", number(now.deliveries_waiting ?? 0)),
    figure("lag", millis(Math.round(now.loop_lag_ms ?? 0)), now.loop_lag_ms > 100 ? "warn" : ""),
  ];
  const text = JSON.stringify([current(), now.ready, now.reasons, parts.map((one) => one.outerHTML), share]);
  if (showFigures.drawn === text) return;
  showFigures.drawn = text;
  by("figures").replaceChildren(el("dl", {}, ...parts));
  const why = (now.reasons ?? []).map(unready).join("; ");
  say(by("ready"), now.ready ? word("ready") : [word("notReady"), why].filter(Boolean).join(": "));
  set(by("ready"), "class", `pill ${now.ready ? "good" : "bad"}`);
  document.title = `${word("callsNow", number(now.calls))} · rtzr-bridge`;
}

function showOverview() {
  showCards(order);
  recent.showRecent();
}

async function refresh(force = false) {
  const id = opened;
  const live = store.live.includes(id);
  if (!force && (asked && (!live || performance.now() - asked < REFRESH_MS))) {
    return;
  }
  asked = performance.now();
  const answer = await ask(path(id));
  if (opened !== id || answer === null || answer.status === 401) return;
  const call = answer.ok ? await answer.json() : null;
  if (opened !== id) return;
  if (call !== null && call.id !== id) { // the address had a part of the id
    opened = call.id;
    history.replaceState(null, "", link(call));
  }
  if (call !== null) store.recall(call);
  view.show(call);
}

function show(name) {
  for (const one of ["login", "overview", "call"]) by(one).hidden = one !== name;
  by("figures").hidden = name === "login";
  by("logout").hidden = name === "login";
}

async function route(focus = true) {
  const found = /^#\/call\/(.+)$/.exec(location.hash);
  let id = null;
  try { id = found && decodeURIComponent(found[1]); } catch { id = null; }
  opened = id;
  if (id === null) {
    show("overview");
    showOverview();
    if (focus) by("live-title").focus();
    return;
  }
  show("call");
  const visit = ++visits;
  await refresh(true);
  if (focus && opened !== null && visit === visits) view.title.focus();
}

function showLogin() {
  stream?.close();
  stream = null;
  store.forget();
  by("heard").replaceChildren();
  say(by("ready"), "");
  set(by("ready"), "class", "pill");
  say(by("lost"), "");
  show("login");
  by("token").focus();
}

async function enter(focus) {
  const answer = await ask("api/status");
  if (answer?.status === 401) return false;
  listen();
  await route(focus);
  return true;
}

async function logIn(token) {
  const body = new URLSearchParams({ token });
  let status = 0;
  try { status = (await fetch("login", { method: "POST", body })).status; } catch { /* nobody there */ }
  by("token").value = "";
  say(by("login-fault"), status === 204 ? "" : word({ 401: "wrongToken", 429: "tooManyTokens" }[status] ?? "noLogin"));
  if (status === 204) await enter(true);
  else by("token").focus();
}

// A link may bring the token. What is behind its # no server is sent, and no history is to keep.
function takeToken() {
  const found = /^#\/login\/(.+)$/.exec(location.hash);
  if (found === null) return null;
  history.replaceState(null, "", "#/");
  try { return decodeURIComponent(found[1]); } catch { return found[1]; }
}

async function begin() {
  const token = takeToken();
  if (!(await enter(false)) && token !== null) await logIn(token);
}

// ---- what people do

by("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await logIn(by("token").value);
});

by("logout").addEventListener("click", async () => {
  try { await fetch("logout", { method: "POST" }); } catch { /* then the cookie ends by itself */ }
  showLogin();
});

by("language").addEventListener("change", () => {
  remember("language", by("language").value);
  speak(by("language").value);
  showFigures();
  if (opened !== null) view.show(view.call);
  else if (!by("overview").hidden) showOverview();
});

by("theme").addEventListener("change", () => {
  remember("theme", by("theme").value);
  document.documentElement.dataset.theme = by("theme").value;
});

by("search").addEventListener("input", () => { recent.begin(); recent.showRecent(); });
by("more").addEventListener("click", () => { recent.more(); recent.showRecent(); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); by("main").focus(); });
addEventListener("hashchange", () => { if (by("login").hidden) route(); });

addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && opened === null && by("login").hidden) {
    event.preventDefault();
    by("search").focus();
  } else if (event.key === "Escape" && opened !== null && !typing) location.hash = "#/";
});

by("theme").value = ["light", "dark"].includes(remembered("theme")) ? remembered("theme") : "auto";
document.documentElement.dataset.theme = by("theme").value;
speak(preferred());
by("language").value = current();
view = new CallView(order);
begin();
