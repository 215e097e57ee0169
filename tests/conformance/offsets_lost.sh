#!/usr/bin/env bash
# offsets_lost.sh: how old the offsets are that a slave knows when its master is killed, with a Java broker on
# either side or none. Offsets are committed ten times a second for SECONDS (80); prints the age of the newest
# one that the slave has. Measures; nothing here fails but what does not run.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv "$SUT" "$WORK/ns" "$ns_port"
compile_java

measure() {
  local master="$1" slave="$2" name="$1-$2" mport sport last known dir
  dir="$WORK/$name"; mkdir -p "$dir"
  mport="$(free_port)"; sport="$(free_port)"
  broker_conf "$dir/m.conf" "$mport" "$dir/m/store" "brokerName=$name" brokerIP2=127.0.0.1 slaveReadEnable=true
  broker_conf "$dir/s.conf" "$sport" "$dir/s/store" "brokerName=$name" brokerIP2=127.0.0.1 slaveReadEnable=true brokerRole=SLAVE brokerId=1
  start_broker "$(who "$master")" "$dir/m" "$dir/m.conf" "$ns"
  start_broker "$(who "$slave")" "$dir/s" "$dir/s.conf" "$ns"
  keyed setup "Ticks-$name" "ticks_$name" 1 "127.0.0.1:$mport"
  last="$(keyed ticks "Ticks-$name" "ticks_$name" "$name" "${SECONDS_TICKED:-80}" | sed -n 's/.*ticked //p')"
  stop_server "$dir/m/broker.pid" KILL
  sleep 1
  known="$(keyed offset "Ticks-$name" "ticks_$name" "$name" | sed -n 's/.*offset //p')"
  if [ -n "$last" ] && [ "${known:-0}" -gt 0 ]; then ok "$name: the newest offset of the slave is $((last - known)) ms old"
  else not_ok "$name: last '$last', known '$known'"; fi
  stop_server "$dir/s/broker.pid" KILL
}

for pair in "ours ours" "java ours" "ours java"; do
  # shellcheck disable=SC2086 # the two sides are words
  measure $pair
done
finish
