// What happened in a call, in words: from an entry of its timeline, as the daemon notes it, to Korean and English.
// What is not known here is shown as it came, in English.

import { current, known, millis, number, seconds, word } from "./words.js";

const WHAT = {
  "calls": ["전화를 걺", "calls"],
  "is called": ["전화를 받는 쪽", "is called"],
  "joined late": ["브리지가 중간에 듣기 시작함", "was there before the bridge was"],
  "rings": ["벨이 울림", "rings"],
  "busy": ["통화 중", "busy"],
  "answered": ["응답함", "answers"],
  "joins a conversation": ["대화에 들어옴", "joins a conversation"],
  "leaves the conversation": ["대화에서 나감", "leaves the conversation"],
  "is put on hold or parked": ["보류되었거나 파킹됨", "is put on hold or parked"],
  "holds the other party": ["상대를 보류함", "holds the other party"],
  "takes the other party back": ["보류를 풂", "takes the other party back"],
  "a hang-up is asked for": ["끊기를 요청함", "a hang-up is asked for"],
  "hung up": ["끊음", "hung up"],
  "merged": ["다른 통화와 합쳐짐", "merged with another call"],
  "the PBX is lost": ["PBX와 연결이 끊김", "the PBX is lost"],
  "the PBX is connected again": ["PBX와 다시 연결됨", "the PBX is connected again"],
  "heard from now on": ["여기부터 들음", "heard from now on"],
  "leg over": ["처리를 마침", "worked off"],
  "the process that heard it is lost": ["듣던 프로세스가 죽음", "the process that heard it is lost"],
  "tap attached": ["탭을 붙임", "tap attached"],
  "not tapped": ["탭을 붙이지 못함", "not tapped"],
  "taps do not stay": ["탭이 붙어 있지 않음", "taps do not stay"],
  "tap lost while the PBX was away": ["PBX와 끊긴 동안 탭을 잃음", "tap lost while the PBX was away"],
  "tap ended alone; it is put back": ["탭이 저절로 끝나 다시 붙임", "tap ended alone; it is put back"],
  "packets lost": ["패킷 손실", "packets lost"],
  "packets in all": ["패킷 합계", "packets in all"],
  "said": ["말함", "said"],
  "audio lost": ["음성 손실", "audio lost"],
  "session opened": ["세션 열림", "session opened"],
  "no session": ["세션을 열지 못함", "no session"],
  "RTZR refused the leg": ["RTZR가 이 음성을 거절함", "RTZR refused the leg"],
  "session done": ["세션 끝: RTZR의 마지막 결과를 받음", "session over: RTZR has said its last word"],
  "session late": ["세션 끝: 마지막 결과를 더 기다리지 않음", "session over: its last word was not awaited any longer"],
  "session lost": ["세션이 끊김: 확정되지 않은 음성은 다시 보냄", "session lost; what it had not told goes out again"],
  "session mute": ["RTZR가 응답이 없어 새 세션을 시도함", "RTZR took speech and said nothing; a new session is tried"],
  "session rotated": ["오래된 세션을 새것으로 바꿈", "the session was old; a new one follows"],
  "session evicted": ["우선순위가 높은 통화에 채널을 내줌", "the channel goes to a call of higher priority"],
  "session paused": ["일시정지로 세션을 닫음", "session closed for the pause"],
  "paused": ["일시정지", "paused"],
  "resumed": ["다시 듣기", "resumed"],
};

const STARTS = {
  "dialled: ": ["호출 결과: ", "dialled: "],
  "refused: ": ["받지 않음: ", "refused: "],
};

const DIALS = {
  answer: "받음", busy: "통화 중", cancel: "취소", noanswer: "받지 않음", congestion: "혼잡", chanunavail: "닿지 않음",
  ringing: "벨이 울림", progress: "진행 중", proceeding: "진행 중",
};

const REFUSALS = {
  "max_legs": ["overload.max_legs 한도에 도달함", "overload.max_legs is reached"],
  "cpu": ["CPU가 모자람", "too little CPU"],
  "lag": ["루프가 늦음", "the loop is late"],
  "rtp ports": ["PBX의 RTP 포트가 모자람", "the PBX has too few RTP ports"],
  "pbx slow": ["PBX가 느림", "the PBX is slow"],
};

// Why the bridge is not ready; what follows the beginning is as the daemon has it.
const UNREADY = {
  "the bridge is starting": ["브리지가 시작하는 중", "the bridge is starting"],
  "the bridge is stopping": ["브리지가 끝나는 중", "the bridge is stopping"],
  "the PBX is not connected": ["PBX와 연결되지 않음", "the PBX is not connected"],
  "RTZR gives no token": ["RTZR 토큰을 받지 못함", "RTZR gives no token"],
  "RTZR gives no session": ["RTZR 세션을 열지 못함", "RTZR gives no session"],
  "RTZR's quota is spent": ["RTZR 사용 한도를 모두 소진함", "RTZR's quota is spent"],
  "events are not written": ["이벤트를 기록하지 못함", "events are not written"],
  "not there": ["듣는 프로세스가 없음", "not there"],
  "outbox full": ["아웃박스가 가득 참", "outbox full"],
  "disk full": ["디스크가 가득 참", "disk full"],
};

const BY = {
  consent: ["규칙이 먼저 동의를 요구함", "its rule asks for consent first"],
  page: ["이 페이지에서", "on the page"],
  command: ["명령으로", "by a command"],
  event: ["다이얼플랜이", "by the dialplan"],
  variable: ["채널 변수로", "by the channel's variable"],
  keys: ["전화기 버튼으로", "by keys on the telephone"],
};

// By the number of Q.850; in English the daemon says it.
const CAUSES = {
  1: "없는 번호", 3: "경로가 없음", 16: "정상적으로 끊음", 17: "통화 중", 18: "전화기가 응답하지 않음",
  19: "받지 않음", 20: "전화기가 등록되어 있지 않음", 21: "거절함", 26: "다른 곳에서 받음", 27: "상대 단말 장애",
  28: "잘못된 번호", 31: "정상 종료(자세한 이유 없음)", 34: "빈 회선이 없음", 38: "망 장애", 41: "망의 일시 장애",
  42: "교환기 혼잡", 58: "코덱이나 미디어를 쓸 수 없음", 102: "시간 초과: 상대가 사라짐", 127: "연동 오류",
};

const FATES = {
  received: "받음", accepted: "사용", malformed: "깨짐", foreign_payload: "다른 코덱", comfort_noise: "컴포트 노이즈",
  telephone_events: "버튼", empty: "빈 패킷", foreign_ssrc: "다른 스트림", duplicated: "중복", late: "늦음", strayed: "벗어남",
  lost: "손실", reordered: "순서 바로잡음", resynced: "다시 맞춤", ssrc_changes: "스트림 바뀜", jumps: "시각 건너뜀",
  slips: "시각 어긋남", foreign: "다른 출처", overrun: "넘침", expired: "기한 지남", discarded: "버림", digits: "버튼",
  unread: "읽지 않음", failed: "실패", undelivered: "전달 못함", replaced: "바뀜", broken: "끊김", finished: "끝",
  texts: "텍스트", flooded: "넘침", halved: "반쪽", unpaired: "짝 없음", mismatched: "맞지 않음",
};

const KEYS = {
  utterances: ["발화", "utterances"], kind: ["방식", "kind"], transport: ["전송", "transport"], reason: ["이유", "reason"],
  into: ["통화", "into"], mend: ["고치기", "mend"], cause: ["원인", "cause"], attempt: ["시도", "try"],
};

const own = (table, key) => (Object.hasOwn(table, key) ? table[key] : undefined);
const one = (pair) => pair[current() === "ko" ? 0 : 1];
const told = (value) => (typeof value === "number" ? number(value) : String(value));
const list = (reasons) => reasons.map((each) => word(each)).join(", ");

// What happened; as it came where that is nothing that is known.
export function what(entry) {
  const pair = own(WHAT, entry.what);
  if (pair) return one(pair);
  const start = Object.keys(STARTS).find((each) => entry.what.startsWith(each));
  if (!start) return entry.what;
  const rest = entry.what.slice(start.length);
  const refusal = own(REFUSALS, rest);
  return one(STARTS[start]) + (refusal ? one(refusal) : (current() === "ko" && own(DIALS, rest)) || rest);
}

export const isKnown = (entry) =>
  Object.hasOwn(WHAT, entry.what) || Object.keys(STARTS).some((each) => entry.what.startsWith(each));

// How many packets had which fate.
export const counted = (fates) => Object.entries(fates)
  .filter(([, count]) => typeof count === "number")
  .map(([fate, count]) => `${(current() === "ko" && own(FATES, fate)) || fate.replaceAll("_", " ")} ${number(count)}`)
  .join(", ");

// What else is worth knowing of it; "" for nothing.
export function detail(entry) {
  const data = entry.data ?? {};
  const parts = [];
  if (entry.kind === "packets") return counted(data);
  if (entry.kind === "utterance") return Number.isFinite(data.latency_ms) ? word("latencyLong", millis(data.latency_ms)) : "";
  if (entry.kind === "gap") {
    const length = Number.isFinite(data.ms) ? data.ms : data.end_ms - data.start_ms;
    return [Number.isFinite(length) ? seconds(length) : "", data.reason ? word(data.reason) : "", data.spooled ? word("spooled") : ""]
      .filter(Boolean).join(", ");
  }
  if (entry.what === "session opened") return opened(data);
  if (entry.what === "hung up") return hangUp(data);
  if (entry.what === "leg over") return [word(data.verdict ?? ""), list(data.reasons ?? []), data.refusal].filter(Boolean).join(", ");
  if (data.by) return ordered(data);
  for (const [name, value] of Object.entries(data)) {
    if (["call_ms", "bridge", "text", "words", "start_ms", "end_ms", "paused", "means"].includes(name)) continue;
    if (value === "" || !["string", "number"].includes(typeof value)) continue;
    const key = own(KEYS, name);
    parts.push(`${key ? one(key) : name.replaceAll("_", " ")} ${told(value)}`);
  }
  return parts.join(", ");
}

function opened(data) {
  const parts = Number.isFinite(data.wait_ms) && Number.isFinite(data.token_ms) && Number.isFinite(data.connect_ms)
    ? word("openedParts", number(data.wait_ms), number(data.token_ms), number(data.connect_ms)) : "";
  return [Number.isFinite(data.ms) ? millis(data.ms) : "", parts].filter(Boolean).join(": ");
}

function hangUp(data) {
  const found = /^cause (\d{1,3})$/.exec(data.cause ?? "");
  return (current() === "ko" && found && own(CAUSES, found[1])) || data.means || data.cause || "";
}

function ordered(data) {
  const by = own(BY, data.by);
  return (by ? one(by) : data.by) + (data.who && data.by !== "consent" ? ` (${data.who})` : "");
}

export function unready(reason) {
  const start = Object.keys(UNREADY).find((each) => reason.startsWith(each));
  return start ? one(UNREADY[start]) + reason.slice(start.length) : reason;
}

export const why = (reason) => (known(reason) ? word(reason) : what({ what: reason }));
