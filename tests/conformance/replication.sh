#!/usr/bin/env bash
# replication.sh: a Java master with our slave and our master with a Java slave, without and with waiting
# for the slave. Messages under load; at the end both logs are the same, byte for byte; then the master is
# killed and the slave read with the Java client, by pull and by key.
#   MESSAGES=20000     how many messages of the load (1,000,000 in .ci/long)
#   SUT=java           puts the Java broker in our place: what the script itself is checked with
#   SCENARIOS=regex    picks some of java-ours-async, java-ours-sync, ours-java-async, ours-java-sync,
#                      ours-ours-async, ours-ours-sync
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

MESSAGES="${MESSAGES:-20000}"
TOPIC=KeyedTopic GROUP=keyed_group LOAD=LoadTopic

ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv "$SUT" "$WORK/ns" "$ns_port"

compile_java

# ha ADDRESS FIELD: a figure of code 907.
ha() { "$SERVER/mqadmin" haStatus -b "$1" --json 2>/dev/null | tr ',{}[]' '\n' | sed -n "s/^ *\"$2\": *\([0-9-]*\).*/\1/p" | head -1; }

# in_sync MASTER SLAVE: whether the slave's log ends where the master's does.
in_sync() {
  local master slave
  master="$(ha "127.0.0.1:$1" masterCommitLogMaxOffset)"; slave="$(ha "127.0.0.1:$2" maxOffset)"
  [ -n "$master" ] && [ "$master" -gt 0 ] && [ "$master" = "$slave" ]
}

# same_log ONE OTHER: the same files with the same bytes; one more file may be prepared and empty.
same_log() {
  local one="$1/store/commitlog" other="$2/store/commitlog" name common=0
  for name in $(ls "$one" "$other" | grep -E '^[0-9]{20}$' | sort -u); do
    if [ -e "$one/$name" ] && [ -e "$other/$name" ]; then
      cmp "$one/$name" "$other/$name" || return 1
      common=$((common + 1))
    else
      cmp -n "$(stat -c %s "$one/$name" "$other/$name" 2>/dev/null | head -1)" \
        "$(ls "$one/$name" "$other/$name" 2>/dev/null)" /dev/zero || return 1
    fi
  done
  [ "$common" -gt 0 ] && echo "    $common files are the same"
}

route_has_no_master() { ! "$SERVER/mqadmin" topicRoute -n "$ns" -t "$TOPIC" 2>/dev/null | grep -q "127.0.0.1:$1"; }

scenario() {
  local master="$1" slave="$2" mode="$3" name="$1-$2-$3" dir="$WORK/$1-$2-$3" mport sport keys
  echo "# $name"
  mkdir -p "$dir"
  mport="$(free_port)"; sport="$(free_port)"
  keys=(mappedFileSizeCommitLog=16777216 haSendHeartbeatInterval=1000 slaveReadEnable=true brokerIP2=127.0.0.1
        "brokerName=$name" mappedFileSizeConsumeQueue=60000)
  if [ "$mode" = sync ]; then keys+=(brokerRole=SYNC_MASTER inSyncReplicas=2 slaveTimeout=10000); fi
  broker_conf "$dir/master.conf" "$mport" "$dir/master/store" "${keys[@]}"
  broker_conf "$dir/slave.conf" "$sport" "$dir/slave/store" "${keys[@]}" brokerRole=SLAVE brokerId=1
  start_broker "$(who "$master")" "$dir/master" "$dir/master.conf" "$ns"
  # Before there is a slave a double write is not answered in time.
  start_broker "$(who "$slave")" "$dir/slave" "$dir/slave.conf" "$ns"
  wait_until 60 slave_is_there "$mport" || { not_ok "$name (no slave)"; tail -5 "$dir/slave/broker.out"; return; }
  keyed setup "$TOPIC" "$GROUP" 3 "127.0.0.1:$mport" || { not_ok "$name setup"; return; }
  keyed send "$TOPIC" 0 300 "$dir/ledger" || { not_ok "$name send"; return; }
  "$SERVER/mqbench" produce --namesrv "$ns" --topic "$LOAD-$name" --queues 4 --count "$MESSAGES" --window 64 \
    --body 300 | sed 's/^/    /' || { not_ok "$name load"; return; }
  keyed send "$TOPIC" 300 600 "$dir/ledger" || { not_ok "$name send after the load"; return; }
  if ! wait_until 120 in_sync "$mport" "$sport"; then
    not_ok "$name (the slave is behind)"; ha "127.0.0.1:$mport" masterCommitLogMaxOffset; ha "127.0.0.1:$sport" maxOffset; return
  fi
  keyed consume "$TOPIC" "$GROUP" 100 "$dir/consumed" || { not_ok "$name consume"; return; }
  # A Java slave copies topics and groups once a minute, the first time ten seconds after its start.
  if ! wait_until 90 slave_knows "$dir/slave" 2>/dev/null; then not_ok "$name (the slave does not know the topic)"; return; fi
  stop_server "$dir/master/broker.pid" KILL
  if same_log "$dir/master" "$dir/slave"; then ok "$name same log"; else not_ok "$name same log"; fi
  wait_until 150 route_has_no_master "$mport" || { not_ok "$name (the master stays in the route)"; return; }
  if keyed slave "$TOPIC" "$dir/ledger"; then ok "$name read from the slave"; else not_ok "$name read from the slave"; fi
  stop_server "$dir/slave/broker.pid"
  if same_log "$dir/master" "$dir/slave"; then ok "$name same log after the slave's stop"; else not_ok "$name after the slave's stop"; fi
  [ "$mode" = sync ] || [ "$slave" = java ] || offsets_come_back || true
  rm -rf "$dir/master/store" "$dir/slave/store"
}

# Offsets that are committed at the slave while the master is away are the master's when it is back.
offsets_come_back() {
  start_broker "$(who "$slave")" "$dir/slave" "$dir/slave.conf" "$ns"
  keyed commit "$TOPIC" "$GROUP" "$name" 0 77 ||
    { not_ok "$name commit at the slave"; return; }
  start_broker "$(who "$master")" "$dir/master" "$dir/master.conf" "$ns"
  if wait_until 60 master_has_77 "$mport"; then ok "$name the slave's offset came back"; else
    not_ok "$name the slave's offset did not come back"; "$SERVER/mqadmin" consumerProgress -n "$ns" -g "$GROUP"
  fi
  stop_server "$dir/master/broker.pid" KILL
  stop_server "$dir/slave/broker.pid"
}

master_has_77() { "$SERVER/mqadmin" consumerProgress -n "$ns" -g "$GROUP" -t "$TOPIC" 2>/dev/null | awk '$3 == 0 && $5 == 77' | grep -q .; }

slave_is_there() { "$SERVER/mqadmin" haStatus -b "127.0.0.1:$1" --json 2>/dev/null | grep -q slaveAckOffset; }

slave_knows() {
  grep -q "\"$TOPIC\"" "$1/store/config/topics.json" && grep -q "\"$GROUP\"" "$1/store/config/subscriptionGroup.json"
}

for pair in "java ours" "ours java" "ours ours"; do
  for mode in async sync; do
    name="${pair// /-}-$mode"
    # shellcheck disable=SC2086 # the two sides are words
    ! want "$name" || scenario $pair "$mode"
    # What a failure left running would be in the next one's routes.
    for left in "$WORK/$name"/*/broker.pid; do [ ! -e "$left" ] || stop_server "$left" KILL; done
  done
done
finish
