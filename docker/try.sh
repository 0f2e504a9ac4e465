#!/bin/sh
# Brings up compose.yaml (docker compose, or the older docker-compose), has its Asterisk make one call, and shows what was
# said. It ends with 1 if no call comes to its end; all stays up, for more calls: docker/try.sh. To remove it:
#   docker compose --file docker/compose.yaml -p rtzr-bridge down
set -eu
export COMPOSE_PROJECT_NAME="${COMPOSE_PROJECT_NAME:-rtzr-bridge}"
cd "$(dirname "$0")"

compose() {
  if docker compose version >/dev/null 2>&1; then docker compose --file compose.yaml "$@"
  else docker-compose --file compose.yaml "$@"; fi
}

# Until `what` says $2; the rest is the command. A minute is plenty on a slow machine.
until_told() {
  what=$1 wanted=$2 left=60
  shift 2
  until "$@" 2>/dev/null | grep -q "$wanted"; do
    left=$((left - 1))
    if [ "$left" = 0 ]; then echo "$what does not come: compose logs tells why" >&2; exit 1; fi
    sleep 1
  done
}

ended() { compose logs --no-color bridge | grep -c 'call ended' || :; }

compose up --detach --build
until_told Asterisk 'fully booted' compose exec -T asterisk asterisk -rx 'core waitfullybooted'
until_told 'the bridge' 'ari connected' compose logs --no-color bridge
before=$(ended)
compose exec -T asterisk asterisk -rx 'channel originate Local/100@office/n extension caller@telephones'
echo 'They talk, for half a minute:'
left=90
while [ "$(ended)" = "$before" ]; do
  left=$((left - 1))
  if [ "$left" = 0 ]; then compose logs bridge; echo 'the call does not end' >&2; exit 1; fi
  sleep 1
done
compose logs --no-color bridge
