#!/usr/bin/env bash
# batches.sh: a topic with queue.type=BatchCQ, made by the real admin client. The real Java client sends batches
# (lists, and those of a producer with autoBatch) and single messages, and consumes them by pull and push, each
# exactly once and at its offset; what fails comes back. The same at the Java broker, and with one directory that
# ours, Java's and ours again go on with.
#   SCENARIOS=regex picks some: alone-ours, ours-java-ours-KILL ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

SMALL=(flushConsumerOffsetInterval=500 messageIndexSafe=true mappedFileSizeCommitLog=65536
  mappedFileSizeConsumeQueue=2000 mapperFileSizeBatchConsumeQueue=1150 maxHashSlotNum=100 maxIndexNum=400)
TOPIC=BatchTopic GROUP=batch_group
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv java "$WORK/ns" "$ns_port"
compile_java

batches() { java_program Batches "$@"; }

# leg DIR NUMBER: in a running broker, all earlier messages are verified, more are sent and consumed.
leg() {
  local dir="$1" from=$(( $2 * 500 ))
  [ "$2" = 0 ] || batches verify "$TOPIC" "$dir/ledger" || return 1
  batches send "$TOPIC" "$from" $((from + 400)) "$dir/ledger" &&
    batches auto "$TOPIC" $((from + 400)) $((from + 500)) "$dir/ledger" &&
    batches verify "$TOPIC" "$dir/ledger" &&
    batches push "$TOPIC" "$GROUP" 500 "$dir/consumed" &&
    batches account "$dir/ledger" "$dir/consumed" &&
    batches progress "$TOPIC" "$GROUP" | tee "$dir/progress" &&
    grep -qF "the topic has $((from + 500)), the group consumed $((from + 500)), behind by 0" "$dir/progress"
}

offsets_written() {
  local sum; sum="$(tr -d ' \t\n"' < "$1/store/config/consumerOffset.json" 2>/dev/null |
    grep -oE "$TOPIC@$GROUP:\{[^}]*\}" | grep -oE '[0-9]+:[0-9]+' | cut -d: -f2 | paste -sd+ | bc)"
  [ "${sum:-0}" = "$2" ]
}

scenario() {
  local name="$1" signal="$2" port addr dir="$WORK/$1" number=0 side; shift 2
  echo "# $name"
  port="$(free_port)"; addr="127.0.0.1:$port"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${SMALL[@]}"
  for side in "$@"; do
    try_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns" ||
      { not_ok "$name leg $number ($side does not start)"; tail -20 "$dir/broker.out"; return; }
    if { [ "$number" != 0 ] || batches setup "$TOPIC" "$GROUP" 3 "$addr"; } && leg "$dir" "$number" &&
      wait_until 30 offsets_written "$dir" $((number * 500 + 500))
    then ok "$name leg $number ($side, $(find "$dir/store/batchconsumequeue" -type f | wc -l) queue files)"
    else not_ok "$name leg $number ($side)"; tail -5 "$dir/broker.out"; stop_server "$dir/broker.pid" KILL; return; fi
    stop_server "$dir/broker.pid" "$signal"
    number=$((number + 1))
  done
  rm -rf "$dir"
}

# alone SIDE: what only one broker is asked: retries, tags.
alone() {
  local side="$1" name="alone-$1" port dir="$WORK/alone-$1"
  echo "# $name"
  port="$(free_port)"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${SMALL[@]}"
  start_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns"
  if batches setup "$TOPIC" "$GROUP" 2 "127.0.0.1:$port" &&
    batches send "$TOPIC" 0 300 "$dir/ledger" && batches auto "$TOPIC" 300 400 "$dir/ledger" &&
    batches verify "$TOPIC" "$dir/ledger" &&
    batches tags "$TOPIC" TagA "$dir/ledger" && batches tags "$TOPIC" TagB "$dir/ledger" &&
    batches retry "$TOPIC" "$GROUP" 400 "$dir/consumed" && batches account "$dir/ledger" "$dir/consumed"
  then ok "$name"; else not_ok "$name"; tail -5 "$dir/broker.out"; fi
  stop_server "$dir/broker.pid" KILL
}

for side in ours java; do
  ! want "alone-$side" || alone "$side"
done
for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    name="${sides// /-}-$signal"
    # shellcheck disable=SC2086 # the sides are words
    ! want "$name" || scenario "$name" "$signal" $sides
  done
done
finish
