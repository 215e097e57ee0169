#!/usr/bin/env bash
# referee.sh: the same requests to a RocketMQ broker and to ours, both fresh and configured alike; the
# answers are compared. See tests/referee/main.rs.
#   REFEREE_ONLY, REFEREE_SHOW: as there
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java mvn
need_server

# No round of checks comes in between: the first one commits an offset.
KEYS=(transactionTimeOut=600000 transactionCheckInterval=3600000 recallMessageEnable=true)

for side in java callboard; do
  ns_port="$(free_port)"
  start_namesrv "$side" "$WORK/ns-$side" "$ns_port"
  port="$(free_port)"
  broker_conf "$WORK/$side.conf" "$port" "$WORK/$side/store" "${KEYS[@]}"
  start_broker "$side" "$WORK/$side" "$WORK/$side.conf" "127.0.0.1:$ns_port"
  [ "$side" = java ] && export REFEREE_ROCKETMQ="127.0.0.1:$port" || export REFEREE_CALLBOARD="127.0.0.1:$port"
done
cd "$ROOT"
if cargo test --locked --quiet --test referee -- --nocapture >"$WORK/out" 2>&1; then
  grep 'requests to each' "$WORK/out"; ok "referee"
else
  cat "$WORK/out"; not_ok "referee"
fi
finish
