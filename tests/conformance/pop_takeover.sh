#!/usr/bin/env bash
# pop_takeover.sh: one store directory, two brokers, with pops in flight: ours pops and Java goes on, and the
# other way round, after a clean stop and after kill -9. Receipts of the first broker are acknowledged at the
# second; what nobody acknowledges comes back there, and what was acknowledged at either does not.
#   SCENARIOS=regex picks some: ours-java-TERM ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

TOPIC=PopTakeover GROUP=pop_takeover QUEUES=2
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv java "$WORK/ns" "$ns_port"
compile_java

pops() { java_program Pops "$@"; }

# offsets_written DIR: whether consumerOffset.json has what the pops committed.
offsets_written() {
  tr -d ' \t\n"' < "$1/store/config/consumerOffset.json" 2>/dev/null | grep -qF "$TOPIC@$GROUP:{0:10,1:10}"
}

# scenario NAME SIGNAL FIRST SECOND
scenario() {
  local name="$1" signal="$2" first="$3" second="$4" dir="$WORK/$1" port addr
  port="$(free_port)"; addr="127.0.0.1:$port"
  echo "# $name"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" flushConsumerOffsetInterval=500
  start_broker "$(who "$first")" "$dir" "$WORK/$name.conf" "$ns"
  # Lines 0-4 are acknowledged here, 5-6 hidden for longer, 7-11 acknowledged there, 12-19 by nobody.
  keyed setup "$TOPIC" "$GROUP" "$QUEUES" "$addr" && pops send "$TOPIC" 0 20 "$QUEUES" broker-a &&
    pops pop "$TOPIC" "$GROUP" "$addr" 20 40000 "$dir/popped" &&
    pops ack "$TOPIC" "$GROUP" "$addr" "$dir/popped" 0 5 &&
    pops hide "$TOPIC" "$GROUP" "$addr" "$dir/popped" 5 7 45000 ||
    { not_ok "$name ($first)"; stop_server "$dir/broker.pid" KILL; return; }
  wait_until 30 offsets_written "$dir" || { not_ok "$name ($first writes no offsets)"; stop_server "$dir/broker.pid" KILL; return; }
  stop_server "$dir/broker.pid" "$signal"
  ok "$name ($first: 20 popped, 5 acknowledged, 2 hidden again, then $signal)"
  start_broker "$(who "$second")" "$dir" "$WORK/$name.conf" "$ns"
  if pops ack "$TOPIC" "$GROUP" "$addr" "$dir/popped" 7 12 &&
    { sed -n '6,7p;13,20p' "$dir/popped" >"$dir/open"; pops back "$TOPIC" "$GROUP" "$addr" "$dir/open" 0 10 0; }
  then ok "$name ($second: 10 came back, and no other)"
  else not_ok "$name ($second)"; tail -5 "$dir/broker.out"; fi
  stop_server "$dir/broker.pid" KILL
  rm -rf "$dir"
}

for signal in TERM KILL; do
  for sides in "ours java" "java ours"; do
    name="${sides// /-}-$signal"
    # shellcheck disable=SC2086 # the sides are words
    ! want "$name" || scenario "$name" "$signal" $sides
  done
done
finish
