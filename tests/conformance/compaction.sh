#!/usr/bin/env bash
# compaction.sh: compaction topics on the published Java client. On either broker the last message of each key is
# left, pulls and offsets answer alike, and the commit log's expiry takes nothing; then one store directory and
# two brokers: ours compacts and Java goes on, the other way round, and back again, after a clean stop and after
# kill -9.
#   SCENARIOS=regex picks some: ours, java, ours-java-ours-TERM ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

# 1 ms is the least that RocketMQ honours: a second, and up to as many milliseconds, come on top. The files of
# the compaction log have room for 99 messages, or 27600 bytes.
KEYS=(compactionMappedFileSize=23000 compactionCqMappedFileSize=4600 compactionScheduleInternal=1
  mappedFileSizeCommitLog=65536 mappedFileSizeConsumeQueue=2000 flushConsumerOffsetInterval=500 fileReservedTime=0)
TOPIC=CompactionTopic GROUP=compaction_group
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv java "$WORK/ns" "$ns_port"
compile_java

compacted() { java_program Compacted "$@"; }

# conf NAME PORT STORE: one fileReservedTime, and that 0: old files may go at once.
conf() {
  broker_conf "$WORK/$1.conf" "$2" "$3" "${KEYS[@]}"
  sed -i '/^fileReservedTime=48$/d' "$WORK/$1.conf"
}

# expired DIR: whether the first file of the commit log is gone.
expired() { [ ! -e "$1/store/commitlog/00000000000000000000" ]; }

# one SIDE: what a client sees of a compaction topic there; "$WORK/SIDE.seen" has what both are to answer alike.
one() {
  local side="$1" dir="$WORK/$1" port addr; port="$(free_port)"; addr="127.0.0.1:$port"
  echo "# $side"
  conf "$side" "$port" "$dir/store"
  start_broker "$(who "$side")" "$dir" "$WORK/$side.conf" "$ns"
  if compacted setup "$TOPIC" "$GROUP" 2 "$addr" && compacted facts "$TOPIC" "$addr" >"$dir/facts" &&
    compacted setup "$TOPIC-2" "$GROUP" 2 "$addr" && compacted send "$TOPIC-2" 0 700 20 "$dir/ledger" &&
    compacted compacted "$TOPIC-2" "$dir/ledger" 200
  then ok "$side: the last message of each key is left"
  else not_ok "$side"; tail -5 "$dir/broker.out"; fi
  cat "$dir/facts"
  grep '^ *keys=' "$dir/facts" >"$WORK/$side.seen" || true
  compacted offsets "$TOPIC-2" | tee -a "$WORK/$side.seen"
  if compacted expire "$addr" && wait_until 60 expired "$dir" && compacted compacted "$TOPIC-2" "$dir/ledger" 200 &&
    compacted last "$TOPIC-2" "$GROUP" "$dir/ledger"
  then ok "$side: and is still there when the commit log has lost it"
  else not_ok "$side: expiry"; tail -5 "$dir/broker.out"; fi
  stop_server "$dir/broker.pid" TERM
}

# scenario NAME SIGNAL SIDES...: each side in turn on the same directory, ended by SIGNAL.
scenario() {
  local name="$1" signal="$2" dir="$WORK/$1" number=0 port addr side sides; shift 2; sides=("$@")
  port="$(free_port)"; addr="127.0.0.1:$port"
  echo "# $name"
  conf "$name" "$port" "$dir/store"
  for side in "${sides[@]}"; do
    try_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns" ||
      { not_ok "$name leg $number ($side does not start)"; tail -20 "$dir/broker.out"; return; }
    if { [ "$number" != 0 ] || compacted setup "$TOPIC" "$GROUP" 2 "$addr"; } &&
      { [ "$number" = 0 ] || compacted compacted "$TOPIC" "$dir/ledger" 200; } &&
      compacted send "$TOPIC" $((number * 400)) $((number * 400 + 400)) $((20 + number)) "$dir/ledger" &&
      compacted compacted "$TOPIC" "$dir/ledger" 200 &&
      { [ "$number" != 1 ] || { compacted expire "$addr" && wait_until 60 expired "$dir"; }; } &&
      compacted compacted "$TOPIC" "$dir/ledger" 200
    then ok "$name leg $number ($side)"
    else not_ok "$name leg $number ($side)"; tail -5 "$dir/broker.out"
      [ -z "${KEEP_FAILED:-}" ] || cp -r "$dir/store" "$WORK/failed-$name-$number"
      stop_server "$dir/broker.pid" KILL; return
    fi
    if [ "$((number + 1))" = "${#sides[@]}" ]; then
      if compacted last "$TOPIC" "$GROUP" "$dir/ledger"; then ok "$name ($side: all last messages are consumed)"; else not_ok "$name consumption"; fi
    fi
    stop_server "$dir/broker.pid" "$signal"
    number=$((number + 1))
  done
  rm -rf "$dir"
}

! want ours || one ours
! want java || one java
if want ours && want java; then
  # How far a compaction came is a matter of when: the first offset that is left does not count.
  alike() { sed 's/FOUND,[0-9]*,\([0-9]*\),[0-9]*/FOUND,*,\1,*/; s/NEW_MSG,[0-9]*,/NEW_MSG,*,/' "$1"; }
  if diff <(alike "$WORK/ours.seen") <(alike "$WORK/java.seen"); then ok "both answer alike"; else not_ok "the answers differ"; fi
fi
for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    name="${sides// /-}-$signal"
    # shellcheck disable=SC2086 # the sides are words
    ! want "$name" || scenario "$name" "$signal" $sides
  done
done
finish
