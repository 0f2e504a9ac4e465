// Every word of the page in Korean and English, and how numbers and times are written.

const WORDS = {
  skip: ["통화로 건너뛰기", "Skip to the calls"],
  language: ["언어", "Language"],
  theme: ["색상", "Colours"],
  themeAuto: ["시스템 색상", "System colours"],
  themeLight: ["밝게", "Light"],
  themeDark: ["어둡게", "Dark"],
  logout: ["로그아웃", "Log out"],
  login: ["로그인", "Log in"],
  loginTitle: ["로그인", "Log in"],
  loginHint: [
    "토큰은 환경 변수 RTZR_PAGE_TOKEN에 있습니다(설정의 page.token_env가 다른 변수를 가리키면 그 변수).",
    "The token is in the environment variable RTZR_PAGE_TOKEN, or the one that page.token_env names.",
  ],
  token: ["토큰", "Token"],
  wrongToken: ["토큰이 맞지 않습니다.", "That is not the token."],
  tooManyTokens: ["틀린 토큰이 너무 많습니다. 잠시 뒤에 다시 해 주세요.", "Too many wrong tokens. Wait a moment."],
  noLogin: ["로그인하지 못했습니다.", "Logging in did not work."],
  figures: ["브리지 현황", "The bridge now"],
  heard: ["말한 내용", "What was said"],
  ready: ["정상", "Ready"],
  notReady: ["준비되지 않음", "Not ready"],
  lost: ["연결이 끊겼습니다. 다시 연결하는 중입니다.", "The connection is lost. Trying again."],
  full: ["열린 페이지가 너무 많습니다.", "Too many pages are open."],
  calls: ["통화", "Calls"],
  callsNow: ["통화 {0}건", "Calls: {0}"],
  legs: ["레그", "Legs"],
  channels: ["RTZR 채널", "RTZR channels"],
  wonToday: ["오늘 요금", "Cost today"],
  lostToday: ["오늘 손실", "Lost today"],
  deliveries: ["전달 대기", "To deliver"],
  lag: ["루프 지연", "Loop lag"],
  pausedCalls: ["일시정지", "Paused"],
  liveTitle: ["진행 중인 통화", "Calls in progress"],
  noCalls: ["지금 듣고 있는 통화가 없습니다.", "No call is being heard now."],
  recentTitle: ["최근 통화", "Recent calls"],
  search: ["최근 통화 검색", "Search in recent calls"],
  searchHint: ["번호, 이름, 규칙, 통화 ID, 말", "Number, name, rule, id, words"],
  found: ["{0}건", "{0} found"],
  started: ["시작", "Began"],
  rule: ["규칙", "Rule"],
  people: ["통화자", "People"],
  length: ["길이", "Length"],
  verdict: ["결과", "Result"],
  cost: ["요금", "Cost"],
  lastWords: ["마지막 말", "Last words"],
  more: ["더 보기", "Show more"],
  complete: ["완전함", "Complete"],
  partial: ["일부 손실", "Partial"],
  live: ["진행 중", "In progress"],
  ended: ["끝남", "Over"],
  pause: ["일시정지", "Pause"],
  resume: ["다시 듣기", "Resume"],
  pauseCall: ["{0} 통화 일시정지", "Pause call {0}"],
  resumeCall: ["{0} 통화 다시 듣기", "Resume call {0}"],
  pausedNote: ["일시정지됨: 음성을 보내지도 보관하지도 않습니다", "Paused: no audio is sent or kept"],
  hiddenNote: ["이 규칙의 통화 내용은 표시하지 않습니다", "What is said in calls of this rule is not shown"],
  pauseFailed: ["그 통화를 바꾸지 못했습니다.", "That call could not be changed."],
  detailsOf: ["{0} 통화 자세히 보기", "Details of call {0}"],
  back: ["모든 통화", "All calls"],
  callTitle: ["{0} 통화", "Call {0}"],
  noCall: ["그 통화를 찾을 수 없습니다.", "There is no such call."],
  noRule: ["규칙 없음", "no rule"],
  caller: ["발신", "Caller"],
  callee: ["수신", "Callee"],
  level: ["{0} 음량", "Level of {0}"],
  silent: ["소리 없음", "silent"],
  waiting: ["대기", "waiting"],
  connecting: ["연결 중", "connecting"],
  streaming: ["전송 중", "streaming"],
  reconnecting: ["재연결 중", "reconnecting"],
  paused: ["일시정지", "paused"],
  draining: ["마무리 중", "draining"],
  legEnded: ["끝남", "over"],
  immediate: ["즉시", "immediate"],
  vad: ["VAD", "VAD"],
  hybrid: ["하이브리드", "hybrid"],
  mode: ["방식", "Mode"],
  latency: ["지연", "Latency"],
  latencyLong: ["지연 {0}", "latency {0}"],
  legsTitle: ["음성", "Audio"],
  who: ["통화자", "Who"],
  state: ["상태", "State"],
  arrived: ["들어옴", "Arrived"],
  sent: ["보냄", "Sent"],
  lostMs: ["손실", "Lost"],
  pausedMs: ["일시정지", "Paused"],
  sessions: ["세션", "Sessions"],
  packets: ["패킷", "Packets"],
  talkTitle: ["대화", "Conversation"],
  nothingSaid: ["아직 말이 없습니다.", "Nothing was said yet."],
  timelineTitle: ["타임라인", "Timeline"],
  pictureOf: ["{0} 동안 {1}건. 아래 목록이 같은 내용입니다.", "{1} entries over {0}. The list below says the same."],
  eventsTitle: ["일어난 일", "What happened"],
  show: ["표시할 종류", "Kinds to show"],
  when: ["시각", "At"],
  kind: ["종류", "Kind"],
  what: ["내용", "What"],
  pbx: ["PBX", "PBX"],
  utterance: ["발화", "Utterances"],
  session: ["RTZR 세션", "RTZR sessions"],
  gap: ["누락", "Gaps"],
  deliveriesOf: ["전달 대기", "To deliver"],
  order: ["명령", "Orders"],
  ring: ["보관 한도를 넘김", "older than what is kept"],
  refused: ["RTZR가 거절함", "refused by RTZR"],
  evicted: ["우선순위에 밀림", "channel given to another"],
  drain: ["끝난 뒤 시간이 모자람", "no time left at the end"],
  spooled: ["디스크에 있어 나중에 올 수 있음", "it is on the disk, and may follow"],
  openedParts: ["채널 대기 {0}, 토큰 {1}, 연결 {2}", "{0} waiting for a channel, {1} for the token, {2} connecting"],
  "not tapped": ["탭을 붙이지 못함", "not tapped"],
  "tapped late": ["탭이 늦게 붙음", "tapped late"],
  "tap interrupted": ["탭이 중간에 끊김", "tap interrupted"],
  "pbx away": ["PBX와 끊긴 동안 탭이 끝남", "the PBX was away when the tap ended"],
  "joined late": ["중간부터 들음", "heard from the middle"],
  "worker lost": ["듣던 프로세스가 죽음", "the process that heard it was lost"],
  "packets dropped": ["음성이 받아들일 수 있는 것보다 빨리 옴", "audio came faster than it could be taken in"],
  "mixed too late": ["너무 늦어 섞지 못함", "too late to be mixed"],
  stopped: ["브리지가 멈춤", "the bridge was stopped"],
  failed: ["브리지의 오류: 로그를 볼 것", "a fault of the bridge's: see its log"],
  "its end was not told": ["끝을 알 수 없음", "its end was not told"],
};

const INDEX = { ko: 0, en: 1 };
let language = "en";

export const known = (key) => Object.hasOwn(WORDS, key);

export function word(key, ...values) {
  if (!known(key)) return key;
  return WORDS[key][INDEX[language]].replace(/\{(\d)\}/g, (_, at) => values[Number(at)]);
}

export const current = () => language;

// What was chosen before, or the first of the browser's languages that we speak.
export function preferred() {
  const wanted = [remembered("language"), ...navigator.languages].map((one) => String(one).slice(0, 2));
  return wanted.find((one) => Object.hasOwn(INDEX, one)) ?? "en";
}

export function speak(wanted) {
  language = wanted;
  document.documentElement.lang = wanted;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", word(node.dataset.label));
  for (const node of document.querySelectorAll("[data-placeholder]")) node.placeholder = word(node.dataset.placeholder);
}

// A browser may refuse to keep anything.
export function remembered(name) {
  try { return localStorage.getItem(`rtzr-bridge.${name}`); } catch { return null; }
}

export function remember(name, value) {
  try { localStorage.setItem(`rtzr-bridge.${name}`, value); } catch { /* for this visit, then */ }
}

const two = (value) => String(value).padStart(2, "0");

// 3:07, or 1:02:09.
export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [h, min] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return h ? `${h}:${two(min)}:${two(s % 60)}` : `${min}:${two(s % 60)}`;
}

// 0:07.3, for moments within a call.
export const moment = (ms) => `${clock(ms)}.${Math.floor((Math.max(0, ms) % 1000) / 100)}`;

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export const seconds = (ms) => (ms ? `${number(ms / 1000, ms < 100_000 ? 1 : 0)} ${language === "ko" ? "초" : "s"}` : "0");

export const millis = (ms) => (ms === null || ms === undefined ? "–" : `${number(ms)} ms`);

export const won = (value) =>
  value === null || value === undefined ? "–"
    : new Intl.NumberFormat(language, { style: "currency", currency: "KRW", maximumFractionDigits: 0 }).format(value);

export function time(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  const shown = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  return new Intl.DateTimeFormat(language, today ? shown : { month: "short", day: "numeric", ...shown }).format(at);
}
