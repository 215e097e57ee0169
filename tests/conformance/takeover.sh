#!/usr/bin/env bash
# takeover.sh: one store directory, two brokers. Ours writes and Java goes on, the other way round, and
# back again, with sending and consumption in every leg; after a clean stop and after kill -9; with
# segments so small that log, queues and index span several files. Then the lock file, both ways.
#   SUT=java puts the Java broker in our place: what the script itself is checked with.
#   SCENARIOS=regex picks some: ours-java-ours-TERM ..., lock
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

# messageIndexSafe: without it a Java broker that was killed forgets the keys of its unfinished index file
# (it drops the file and re-reads only the newest log segments), also of its own messages.
COMMON=(flushConsumerOffsetInterval=500 messageIndexSafe=true)
SMALL=("${COMMON[@]}" mappedFileSizeCommitLog=65536 mappedFileSizeConsumeQueue=2000 maxHashSlotNum=100 maxIndexNum=400)
DEFAULT=("${COMMON[@]}")
LIGHT=("${SMALL[@]}" enableLmq=true enableMultiDispatch=true)
OFFSETS=consumerOffset.json
TOPIC=TakeoverTopic GROUP=takeover_group

ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
# The Java NameServer for all: what is under test here is the store.
start_namesrv java "$WORK/ns" "$ns_port"

compile_java

# leg NAME NUMBER: in a running broker, all earlier messages are verified, more are sent, some consumed.
leg() {
  local dir="$1" number="$2" last="$3" from=$(( $2 * 300 )) take=170
  [ "$number" = 0 ] || keyed verify "$TOPIC" "$dir/ledger" || return 1
  keyed send "$TOPIC" "$from" $((from + 300)) "$dir/ledger" || return 1
  keyed verify "$TOPIC" "$dir/ledger" || return 1
  [ -z "${LMQS:-}" ] || keyed light "$TOPIC" "$dir/ledger" || return 1
  [ -z "$last" ] || take=100000
  keyed consume "$TOPIC" "$GROUP" "$take" "$dir/consumed" | tee "$dir/committed" || return 1
  [ -z "$last" ] || keyed account "$dir/ledger" "$dir/consumed"
}

# offsets_written DIR: whether the file of offsets has what was committed last. Java writes it every 500 ms
# here, but for the first time ten seconds after its start.
offsets_written() {
  local want; want="$(sed -n 's/^.* to {\(.*\)}$/\1/p' "$1/committed" | tail -1 | tr '=' ':' | tr -d ' ')"
  [ -n "$want" ] && tr -d ' \t\n"' < "$1/store/config/$OFFSETS" 2>/dev/null |
    grep -qF "$TOPIC@$GROUP:{$want}"
}

# scenario NAME SIGNAL PORT SIDES... : each side in turn on the same directory, ended by SIGNAL.
scenario() {
  local name="$1" signal="$2" port="$3" dir="$WORK/$1" number=0 side last sides; shift 3; sides=("$@")
  echo "# $name"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${CONF[@]}"
  for side in "${sides[@]}"; do
    try_broker "$(who "$side")" "$dir" "$WORK/$name.conf" "$ns" ||
      { not_ok "$name leg $number ($side does not start)"; tail -20 "$dir/broker.out"; return; }
    if [ "$number" = 0 ]; then
      keyed setup "$TOPIC" "$GROUP" 3 "127.0.0.1:$port" || { not_ok "$name setup"; stop_server "$dir/broker.pid" KILL; return; }
    fi
    last=; [ $((number + 1)) -lt ${#sides[@]} ] || last=1
    if ! leg "$dir" "$number" "$last"; then
      not_ok "$name leg $number ($side)"; tail -5 "$dir/broker.out"
      [ -z "${KEEP_FAILED:-}" ] || cp -r "$dir/store" "$WORK/failed-$name-$number"
      stop_server "$dir/broker.pid" KILL; return
    fi
    if ! wait_until 30 offsets_written "$dir"; then
      not_ok "$name leg $number ($side does not write $OFFSETS)"; cat "$dir/store/config/$OFFSETS"
      stop_server "$dir/broker.pid" KILL; return
    fi
    stop_server "$dir/broker.pid" "$signal"
    if [ "$signal" = TERM ] && [ -e "$dir/store/abort" ]; then not_ok "$name leg $number ($side left abort)"; return; fi
    if [ "$signal" = KILL ] && [ ! -e "$dir/store/abort" ]; then not_ok "$name leg $number ($side had no abort file)"; return; fi
    ok "$name leg $number ($side, $(find "$dir/store/commitlog" -type f | wc -l) commit log files)"
    number=$((number + 1))
  done
  rm -rf "$dir"
}

# The other one must refuse to start on a directory in use, and leave it as it is.
lock_excludes() {
  local holder="$1" other="$2" name="lock-$1-excludes-$2" port dir="$WORK/lock-$1" port2
  port="$(free_port)"
  broker_conf "$WORK/$name.conf" "$port" "$dir/store" "${SMALL[@]}"
  start_broker "$(who "$holder")" "$dir" "$WORK/$name.conf" "$ns"
  port2="$(free_port)"; mkdir -p "$dir-2"; ln -s "$dir/store" "$dir-2/store"
  broker_conf "$WORK/$name-2.conf" "$port2" "$dir-2/store" "${SMALL[@]}"
  if START_TIMEOUT=60 try_broker "$(who "$other")" "$dir-2" "$WORK/$name-2.conf" "$ns"; then
    not_ok "$name (both run)"; stop_server "$dir-2/broker.pid" KILL
  elif ! kill -0 "$(cat "$dir/broker.pid")" 2>/dev/null; then
    not_ok "$name (the holder is gone)"; tail -5 "$dir-2/broker.out"; return
  elif [ "$other" = ours ] && [ "$SUT" != java ] && [ ! -e "$dir/store/abort" ]; then
    # Java's own exit road deletes the holder's abort file; ours must not.
    not_ok "$name (the holder's abort file was removed)"
  else
    ok "$name ($(grep -iE 'lock' "$dir-2/broker.out" | head -1 | cut -c1-100))"
  fi
  stop_server "$dir/broker.pid" KILL
}

for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    name="${sides// /-}-$signal"
    CONF=("${SMALL[@]}")
    # shellcheck disable=SC2086 # the sides are words
    ! want "$name" || scenario "$name" "$signal" "$(free_port)" $sides
  done
done
# Messages that enter light message queues, too: queues, and offsets in a file of their own.
for sides in "ours java ours" "java ours java"; do
  name="light-${sides// /-}-KILL"
  CONF=("${LIGHT[@]}")
  # shellcheck disable=SC2086 # the sides are words
  ! want "$name" || LMQS=1 OFFSETS=lmqConsumerOffset.json scenario "$name" KILL "$(free_port)" $sides
done
CONF=("${DEFAULT[@]}")
! want sizes-KILL || scenario sizes-KILL KILL "$(free_port)" ours java ours
if want lock; then lock_excludes ours java; lock_excludes java ours; fi
finish
