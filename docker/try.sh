#!/bin/sh
# Brings up compose.yaml (docker compose, or the older docker-compose), tells where its live page is, has its Asterisk make
# one call, and shows what is said. It ends with 1 if no call comes to its end; all stays up, for more calls: docker/try.sh.
# To remove it:
#   docker compose --file docker/compose.yaml -p rtzr-bridge down
# RTZR_PAGE_PORT is the page's port on 127.0.0.1 (8091), RTZR_PAGE_TOKEN what lets in to it, of letters, digits, - and _.
set -eu
export COMPOSE_PROJECT_NAME="${COMPOSE_PROJECT_NAME:-rtzr-bridge}"
export RTZR_PAGE_PORT="${RTZR_PAGE_PORT:-8091}"
export RTZR_PAGE_TOKEN="${RTZR_PAGE_TOKEN:-token-of-the-demonstration}"
cd "$(dirname "$0")"
told=$(mktemp)
trap 'rm -f "$told"' EXIT

compose() {
  if docker compose version >/dev/null 2>&1; then docker compose --file compose.yaml "$@"
  else docker-compose --file compose.yaml "$@"; fi
}

fail() {
  echo "$1" >&2
  exit 1
}

# The bridge's standard output has what is said, its standard error the log.
ended() { docker logs "$bridge" 2>&1 >/dev/null | grep -c 'call ended' || :; }
new_lines() {
  docker logs "$bridge" >"$told" 2>/dev/null
  tail -n "+$((shown + 1))" "$told"
  shown=$(wc -l <"$told")
}

echo 'Building both images; the first time it takes some minutes:'
{ compose build 2>&1 || echo 'not built'; } | tee "$told" |
  awk '/^(Step |#[0-9]+ \[)/ && !told[$0]++ { print "  " substr($0, 1, 100); fflush() }'
if grep -q '^not built$' "$told"; then cat "$told" >&2; exit 1; fi

echo 'Starting Asterisk, the bridge and the emulated RTZR.'
if ! compose up --detach >"$told" 2>&1; then
  if grep -qE 'already (in use|allocated)' "$told"; then
    fail "port $RTZR_PAGE_PORT of 127.0.0.1 is taken; for another: RTZR_PAGE_PORT=8092 docker/try.sh"
  fi
  cat "$told" >&2
  exit 1
fi
bridge=$(compose ps --quiet bridge)
left=60
until docker logs "$bridge" 2>&1 | grep -q 'ari connected'; do
  left=$((left - 1))
  [ "$left" != 0 ] || { compose logs bridge; fail 'the bridge does not come to its Asterisk'; }
  sleep 1
done

echo
echo "The live page, where this lets you in:  http://127.0.0.1:$RTZR_PAGE_PORT/#/login/$RTZR_PAGE_TOKEN"
echo 'Two telephones talk, for half a minute. The text is the emulator'"'"'s: it hears a code book of tones, no real speech.'
echo
before=$(ended) shown=0
new_lines >/dev/null
compose exec -T asterisk asterisk -rx 'channel originate Local/100@office/n extension caller@telephones' >/dev/null
left=90
while [ "$(ended)" = "$before" ]; do
  left=$((left - 1))
  [ "$left" != 0 ] || { compose logs bridge; fail 'the call does not end'; }
  sleep 1
  new_lines
done
new_lines
echo
echo 'The call is over; docker/try.sh makes another. All of it stays, with its page, until'
echo "  docker compose --file docker/compose.yaml -p $COMPOSE_PROJECT_NAME down"
