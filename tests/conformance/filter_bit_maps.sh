#!/usr/bin/env bash
# filter_bit_maps.sh: consumers with SQL92 expressions while the broker writes bit maps of filters into the
# extensions of queue entries. Each side alone: every group gets what it wants, and both brokers tell the same
# bit maps of the same messages. Then one store that changes hands, after a clean stop and after kill -9.
#   SUT=java puts the Java broker in our place: what the script itself is checked with.
#   SCENARIOS=regex picks some: alone, ours-java-ours-TERM ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

TOPIC=FilterMaps COUNT=200
# Files so small that the extensions of a leg are in several.
CONF=(enablePropertyFilter=true enableConsumeQueueExt=true enableCalcFilterBitMap=true mappedFileSizeConsumeQueueExt=4096
  flushConsumerOffsetInterval=500)
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv java "$WORK/ns" "$ns_port"
compile_java

maps() { java_program FilterMaps "$@"; }

# legs NAME SIGNAL SIDE...: each side in turn on one store. What the last one tells of the entries is in DIR/maps.
legs() {
  local name="$1" signal="$2" dir="$WORK/$1" port number=0 side; shift 2
  echo "# $name"; port="$(free_port)"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${CONF[@]}"
  for side in "$@"; do
    try_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns" ||
      { not_ok "$name leg $number ($side does not start)"; tail -20 "$dir/broker.out"; return 1; }
    [ "$number" != 0 ] || keyed setup "$TOPIC" maps_setup 1 "127.0.0.1:$port"
    maps leg "$TOPIC" $((number * COUNT)) $(((number + 1) * COUNT)) "$dir" broker-a ||
      { not_ok "$name leg $number ($side)"; tail -5 "$dir/broker.out"; stop_server "$dir/broker.pid" KILL; return 1; }
    number=$((number + 1))
    # What a killed broker has not flushed would be read from the log, without bit maps.
    [ "$number" = $# ] || { sleep 3; stop_server "$dir/broker.pid" "$signal"; }
  done
  maps maps "$TOPIC" $((number * COUNT)) "127.0.0.1:$port" "$dir/maps" || { not_ok "$name maps"; return 1; }
  stop_server "$dir/broker.pid" KILL
}

if want alone && legs alone-java TERM java && legs alone-ours TERM ours; then
  if diff "$WORK/alone-java/maps" "$WORK/alone-ours/maps" > "$WORK/maps.diff" && ! grep -q ' none' "$WORK/alone-ours/maps"; then
    ok "alone: the same bit maps"
  else
    not_ok "alone: the same bit maps"; head -10 "$WORK/maps.diff"
  fi
fi
for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    name="${sides// /-}-$signal"
    want "$name" || continue
    # shellcheck disable=SC2086 # the sides are words
    if legs "$name" "$signal" $sides; then ok "$name"; fi
    rm -rf "${WORK:?}/$name"
  done
done
finish
