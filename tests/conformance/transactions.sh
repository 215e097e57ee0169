#!/usr/bin/env bash
# transactions.sh: open transactions change brokers. Ours and Java's take turns on one store directory, after
# a clean stop and after kill -9; in each leg some transactions are committed, some rolled back, and some are
# asked about and stay open. The last broker settles them: all commits come, no rollback does, and what came
# twice is counted.
#   SCENARIOS=regex picks some: ours-java-ours-TERM, java-ours-java-KILL, ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

TOPIC=TxTakeover GROUP=tx_takeover COUNT=40
KEYS=(flushConsumerOffsetInterval=500 transactionTimeOut=1500 transactionCheckInterval=1000 transactionCheckMax=1000
  transactionOpBatchInterval=300)   # Java asks about what it has not marked yet

ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv java "$WORK/ns" "$ns_port"
compile_java

# scenario NAME SIGNAL PORT SIDES...: each side in turn on the same directory, ended by SIGNAL.
scenario() {
  local name="$1" signal="$2" port="$3" dir="$WORK/$1" number=0 side; shift 3
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${KEYS[@]}"
  for side in "$@"; do
    try_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns" ||
      { not_ok "$name leg $number ($side does not start)"; tail -20 "$dir/broker.out"; return; }
    if [ "$number" = 0 ]; then
      keyed setup "$TOPIC" "$GROUP" 3 "127.0.0.1:$port" ||
        { not_ok "$name setup"; stop_server "$dir/broker.pid" KILL; return; }
    fi
    if ! transactions send "$TOPIC" "$GROUP" $((number * COUNT)) $(((number + 1) * COUNT)) "$dir/ledger"; then
      not_ok "$name leg $number ($side)"; tail -5 "$dir/broker.out"; stop_server "$dir/broker.pid" KILL; return
    fi
    number=$((number + 1))
    [ "$number" = $# ] || stop_server "$dir/broker.pid" "$signal"
  done
  if transactions settle "$TOPIC" "$GROUP" "$dir/ledger"; then ok "$name"; else not_ok "$name"; tail -5 "$dir/broker.out"; fi
  stop_server "$dir/broker.pid" KILL
  rm -rf "$dir"
}

transactions() { java_program Tx "$@"; }

for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    name="${sides// /-}-$signal"
    # shellcheck disable=SC2086 # the sides are words
    ! want "$name" || scenario "$name" "$signal" "$(free_port)" $sides
  done
done
finish
