#!/usr/bin/env bash
# static_topics.sh: static topics (logic queue mapping) on the published Java client, over two brokers of which
# each is ours or Java's. A topic is made, moved and enlarged by the real mqadmin or by ours; messages are sent
# between the steps, and everything has to be in its logic queue: nothing lost, in order, at offsets that only a
# move makes jump. Brokers are killed, queues move under a sender and a consumer, and one directory goes from one
# broker to the other.
#   NAMESRV=java     the NameServer; ours without it
#   OTHER=java       the broker that stays in takeovers; ours without it
#   SCENARIOS=regex  picks some: java-java, ours-java, takeover-ours-java-ours-TERM ...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server
[ -x "$SERVER/mqadmin" ] || die "no mqadmin in $SERVER"

# Retries come soon; a broker hears of the others' addresses by asking for the route.
KEYS=("messageDelayLevel=1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s" flushConsumerOffsetInterval=500)
GROUP=static_group
ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"
start_namesrv "${NAMESRV:-callboard}" "$WORK/ns" "$ns_port"
compile_java

static() { java_program StaticTopics "$@"; }

# real ARGS...: RocketMQ's mqadmin; its files go to WORK.
real() {
  NAMESRV_ADDR="$ns" timeout -k 5 120 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$WORK" \
    -Duser.home="$WORK" -Drocketmq.client.logRoot="$WORK/clientlogs" \
    -Drmq.logback.configurationFile="$KIT/rocketmq/conf/quiet.logback.xml" \
    -cp "$CLASSPATH_ALL" org.apache.rocketmq.tools.command.MQAdminStartup "$@" 2>&1 | sed '/SLF4J/d; s/^/    /'
}

# own ARGS...: our mqadmin.
own() { TMPDIR="$WORK" timeout 60 "$SERVER/mqadmin" "$@" -n "$ns" 2>&1 | sed 's/^/    /'; }

# changed ADMIN ARGS...: one of the two changes a static topic, and says where it wrote what.
changed() {
  local admin="$1" out="$WORK/changed"; shift
  "$admin" "$@" | tee "$out"
  [ "$(grep -c 'mapping data is written to file' "$out")" = 2 ] && ! grep -qiE 'exception|error|mqadmin:' "$out"
}

# written SUFFIX: the file that the last change wrote.
written() { grep -oE "$WORK/[^ ]*\\.$1" "$WORK/changed" | tail -1; }

# begin SIDE NAME PORT [KEY...]: starts a broker, with its directory WORK/scenario/NAME.
begin() {
  local side="$1" name="$2" port="$3"; shift 3
  broker_conf "$WORK/$SCENARIO/$name.conf" "$port" "$WORK/$SCENARIO/$name/store" "brokerName=$name" "${KEYS[@]}" "$@"
  try_broker "$(who "$side")" "$WORK/$SCENARIO/$name" "$WORK/$SCENARIO/$name.conf" "$ns" ||
    { tail -20 "$WORK/$SCENARIO/$name/broker.out"; return 1; }
}

end() { stop_server "$WORK/$SCENARIO/$1/broker.pid" "$2"; }

# registered COUNT: whether so many brokers are known, by RocketMQ's tool.
registered() { [ "$(own clusterList | grep -c "broker-[ab]")" = "$1" ]; }

# step TEXT COMMAND...: one line of the result; a failure ends the scenario.
step() {
  local text="$1"; shift
  if "$@"; then ok "$SCENARIO: $text"; else
    not_ok "$SCENARIO: $text"
    for name in broker-a broker-b; do
      echo "    $name says:"; tail -5 "$WORK/$SCENARIO/$name/broker.out" | sed 's/^/    /'
    done
    return 1
  fi
}


# sent TOPIC QUEUES COUNT DIR: so many more messages, and all that was ever sent is there.
sent() {
  local from; from="$(wc -l < "$4/ledger" 2>/dev/null || echo 0)"
  static send "$1" "$2" "$from" $((from + $3)) "$4/ledger" && static verify "$1" "$2" "$4/ledger"
}

shows() {   # shows ADMIN PATTERN COUNT ARGS...: so many lines of its output have the pattern
  local admin="$1" pattern="$2" count="$3" found; shift 3
  "$admin" "$@" > "$WORK/shown"
  found="$(grep -cE "$pattern" "$WORK/shown")" || true
  [ "$found" = "$count" ] || { head -40 "$WORK/shown"; echo "    $found lines have $pattern"; return 1; }
}

ends_of() { awk '{print $2, $3 + 1}' "$1" | sort -k1,1n -k2,2n | awk '{last[$1] = $2} END {for (q in last) sum += last[q]; print sum}'; }

# progressed TOPIC QUEUES DIR: both tools tell that the group's queues end where the sender's do.
progressed() {
  static progress "$1" "$GROUP" "$2" | tee "$WORK/progress" && grep -q "end at $(ends_of "$3/ledger") in sum" "$WORK/progress" &&
    shows own "^ *$1 .*__syslo__global__" "$2" consumerProgress -g "$GROUP"
}

consumed() { static consume "$1" "$GROUP" "$2" "$3" "$4/consumed"; }

# moves TOPIC DIR: a sender and a consumer at work while all queues go to broker-b and half of them come back.
moves() {
  local topic="$1" code=0 live
  touch "$2/live"
  static live "$topic" live_group 4 "$2/nothing" "$2/live" > "$2/live.out" & live=$!
  sleep 6
  changed "$ADMIN" remappingStaticTopic -t "$topic" -b broker-b || code=1
  sleep 3
  changed "$ADMIN" remappingStaticTopic -t "$topic" -b broker-a,broker-b || code=1
  sleep 3
  rm "$2/live"
  wait "$live" || code=1
  cat "$2/live.out"
  [ "$code" = 0 ] && ! grep -q FAILED "$2/live.out"
}

# scenario ADMIN A B: a topic's life over two brokers.
scenario() {
  local a="$2" b="$3" dir pa pb topic=StaticTopic; ADMIN="$1"
  dir="$WORK/$SCENARIO"; mkdir -p "$dir"
  echo "# $SCENARIO: broker-a is $a, broker-b is $b, changed by the $ADMIN mqadmin"
  pa="$(free_port)"; pb="$(free_port)"
  begin "$a" broker-a "$pa" && begin "$b" broker-b "$pb" && wait_until 30 registered 2 || { not_ok "$SCENARIO starts"; return; }
  step "made on one broker" changed "$ADMIN" updateStaticTopic -t "$topic" -b broker-a -qn 10 &&
    step "led by it" static mapping "$topic" 10 broker-a &&
    step "has what was sent" sent "$topic" 10 400 "$dir" &&
    step "a part is consumed" consumed "$topic" 10 150 "$dir" &&
    step "moved to two brokers" changed "$ADMIN" remappingStaticTopic -t "$topic" -b broker-a,broker-b &&
    step "as RocketMQ computes it" static replay "$(written before)" "$(written after)" broker-a broker-b &&
    step "led by both" static mapping "$topic" 10 broker-a broker-b &&
    step "has what was sent before and after" sent "$topic" 10 400 "$dir" &&
    step "the group goes on where it was" consumed "$topic" 10 300 "$dir" &&
    step "the tools tell its progress" progressed "$topic" 10 "$dir" &&
    step "topicStatus by RocketMQ's tool" shows real '^ *__syslo__global__' 10 topicStatus -t "$topic" &&
    step "topicStatus by ours" shows own '^ *__syslo__global__' 10 topicStatus -t "$topic" &&
    step "topicRoute by RocketMQ's tool" shows real 'topicQueueMappingByBroker' 1 topicRoute -t "$topic" &&
    step "topicRoute by ours" shows own 'topicQueueMappingByBroker' 1 topicRoute -t "$topic" &&
    end broker-b KILL && begin "$b" broker-b "$pb" && wait_until 30 registered 2 &&
    step "has all of it after a broker was killed" sent "$topic" 10 100 "$dir" &&
    step "moved to the second broker" changed "$ADMIN" remappingStaticTopic -t "$topic" -b broker-b &&
    step "as RocketMQ computes it, again" static replay "$(written before)" "$(written after)" broker-b &&
    step "led by the second" static mapping "$topic" 10 broker-b &&
    step "has what was sent on three stretches" sent "$topic" 10 300 "$dir" &&
    end broker-a KILL && begin "$a" broker-a "$pa" && wait_until 30 registered 2 &&
    step "has all of it after the other was killed" static verify "$topic" 10 "$dir/ledger" &&
    step "gets more queues" changed "$ADMIN" updateStaticTopic -t "$topic" -b broker-a,broker-b -qn 14 &&
    step "which are used" sent "$topic" 14 280 "$dir" &&
    step "the group consumes the rest" consumed "$topic" 14 100000 "$dir" &&
    step "each once" static account "$dir/ledger" "$dir/consumed" &&
    step "an orderly consumer gets all of it in order" static orderly "$topic" orderly_group 1480 "$dir/orderly" &&
    step "each once, too" static account "$dir/ledger" "$dir/orderly" &&
    step "what failed comes back" static retry "$topic" retry_group 1480 "$dir/retried" &&
    step "another topic" changed "$ADMIN" updateStaticTopic -t LiveTopic -b broker-a -qn 4 &&
    step "moves while it is used" moves LiveTopic "$dir"
  end broker-a KILL; end broker-b KILL
  rm -rf "$dir"
}

# takeover B SIGNAL SIDES...: broker-a's directory goes from side to side; broker-b stays.
takeover() {
  local b="$1" signal="$2" dir pa pb topic=StaticTopic number=0 side to; shift 2; ADMIN=real
  dir="$WORK/$SCENARIO"; mkdir -p "$dir"
  echo "# $SCENARIO: broker-b is $b"
  pa="$(free_port)"; pb="$(free_port)"
  begin "$b" broker-b "$pb" || { not_ok "$SCENARIO starts"; return; }
  for side in "$@"; do
    begin "$side" broker-a "$pa" && wait_until 30 registered 2 || { not_ok "$SCENARIO leg $number ($side does not start)"; break; }
    to=broker-a,broker-b; [ $((number % 2)) = 0 ] || to=broker-b
    if [ "$number" = 0 ]; then
      step "made" changed real updateStaticTopic -t "$topic" -b broker-a -qn 6
    else
      step "leg $number ($side) has all of it" static verify "$topic" 6 "$dir/ledger"
    fi &&
      step "leg $number ($side) takes more" sent "$topic" 6 120 "$dir" &&
      step "leg $number ($side) is consumed on" consumed "$topic" 6 80 "$dir" &&
      step "leg $number ($side) moves" changed real remappingStaticTopic -t "$topic" -b "$to" &&
      step "leg $number ($side) takes still more" sent "$topic" 6 120 "$dir" || break
    number=$((number + 1))
    if [ "$number" = $# ]; then
      step "the group consumes the rest" consumed "$topic" 6 100000 "$dir" && step "each once" static account "$dir/ledger" "$dir/consumed"
    fi
    end broker-a "$signal"
  done
  [ ! -e "$dir/broker-a/broker.pid" ] || end broker-a KILL
  end broker-b KILL
  rm -rf "$dir"
}

for sides in "java java" "ours ours" "ours java" "java ours"; do
  # shellcheck disable=SC2086 # the sides are words
  set -- $sides
  for admin in real own; do
    [ "$admin" = real ] || [ "$1" = "$2" ] || continue
    SCENARIO="${sides// /-}-$admin"
    ! want "$SCENARIO" || scenario "$admin" "$1" "$2"
  done
done
for signal in TERM KILL; do
  for sides in "ours java ours" "java ours java"; do
    SCENARIO="takeover-${sides// /-}-$signal"
    # shellcheck disable=SC2086 # the sides are words
    ! want "$SCENARIO" || takeover "${OTHER:-ours}" "$signal" $sides
  done
done
finish
