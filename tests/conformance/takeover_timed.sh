#!/usr/bin/env bash
# takeover_timed.sh: timed messages that wait while their store changes hands: ours, Java, ours, and the other
# way round, after a clean stop and after kill -9. All are delivered, none early, none that was called back.
# Then a slave that is started as master, with a Java broker on either side.
# After kill -9 a Java broker may deliver some twice: they are counted and told, and are no failure. Ours may not.
#   SUT=java puts the Java broker in our place: what the script itself is checked with.
#   SCENARIOS=regex picks some: ours-java-ours-TERM ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

TOPIC=TimedTakeover GROUP=takeover_group
# Files so small that the timer log has several.
CONF=(mappedFileSizeCommitLog=1048576 mappedFileSizeTimerLog=4096)
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv java "$WORK/ns" "$ns_port"
compile_java

timed() { java_program Timed "$@"; }

scenario() {
  local name="$1" signal="$2" port="$3" dir="$WORK/$1" number=0 side sides dups=0; shift 3; sides=("$@")
  echo "# $name"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${CONF[@]}"
  # Only what a Java broker delivered before its end can come twice.
  [ "$signal" = TERM ] || [[ " ${sides[*]} " != *" java "* ]] || dups=100000
  for side in "${sides[@]}"; do
    try_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns" ||
      { not_ok "$name leg $number ($side does not start)"; tail -20 "$dir/broker.out"; return; }
    [ "$number" != 0 ] || keyed setup "$TOPIC" "$GROUP" 2 "127.0.0.1:$port"
    if ! timed send "$TOPIC" $((number * 200)) $((number * 200 + 200)) 30 "$dir/ledger"; then
      not_ok "$name leg $number ($side)"; tail -5 "$dir/broker.out"; stop_server "$dir/broker.pid" KILL; return
    fi
    number=$((number + 1))
    [ "$number" = ${#sides[@]} ] || { sleep 3; stop_server "$dir/broker.pid" "$signal"; }
  done
  if timed account "$TOPIC" "$dir/ledger" 90 "$dups"; then ok "$name"; else not_ok "$name"; tail -5 "$dir/broker.out"; fi
  stop_server "$dir/broker.pid" KILL
  rm -rf "$dir"
}

# pair MASTER SLAVE: the master is killed, the slave is started as master and goes on.
pair() {
  local name="pair-$1-$2" master="$1" slave="$2" dir="$WORK/pair-$1-$2" port port2 ha dups=0
  echo "# $name"; port="$(free_port)"; port2="$(free_port)"; ha=$((port + 1))
  broker_conf "$WORK/$name.conf" "$port" "$dir/m/store" "${CONF[@]}" brokerIP2=127.0.0.1 "haListenPort=$ha"
  broker_conf "$WORK/$name-s.conf" "$port2" "$dir/s/store" "${CONF[@]}" brokerIP2=127.0.0.1 "haListenPort=$((port2 + 1))" \
    brokerRole=SLAVE brokerId=1 slaveReadEnable=true
  try_broker "$(who "$master")" "$dir/m" "$WORK/$name.conf" "$ns" || { not_ok "$name (no master)"; return; }
  keyed setup "$TOPIC" "$GROUP" 2 "127.0.0.1:$port"
  try_broker "$(who "$slave")" "$dir/s" "$WORK/$name-s.conf" "$ns" || { not_ok "$name (no slave)"; return; }
  timed send "$TOPIC" 0 200 50 "$dir/ledger" || not_ok "$name send"
  sleep 20   # a Java slave asks how far the timer is for the first time after ten seconds
  stop_server "$dir/m/broker.pid" KILL
  stop_server "$dir/s/broker.pid" TERM
  sed -i 's/^brokerRole=.*/brokerRole=ASYNC_MASTER/; s/^brokerId=.*/brokerId=0/' "$WORK/$name-s.conf"
  try_broker "$(who "$slave")" "$dir/s" "$WORK/$name-s.conf" "$ns" || { not_ok "$name (no new master)"; return; }
  # A Java slave copies topics only after a minute.
  [ "$slave" != java ] || keyed setup "$TOPIC" "$GROUP" 2 "127.0.0.1:$port2"
  timed send "$TOPIC" 200 300 10 "$dir/ledger" || not_ok "$name send again"
  [ "$slave" != java ] || dups=100000
  if timed account "$TOPIC" "$dir/ledger" 90 "$dups"; then ok "$name"; else not_ok "$name"; tail -5 "$dir/s/broker.out"; fi
  stop_server "$dir/s/broker.pid" KILL
  rm -rf "$dir"
}

for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    name="${sides// /-}-$signal"
    # shellcheck disable=SC2086 # the sides are words
    ! want "$name" || scenario "$name" "$signal" "$(free_port)" $sides
  done
done
for pair in "ours java" "java ours"; do
  # shellcheck disable=SC2086 # the sides are words
  ! want "pair-${pair// /-}" || pair $pair
done
! want ours-ours-KILL || scenario ours-ours-KILL KILL "$(free_port)" ours ours
finish
