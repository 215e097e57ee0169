#!/usr/bin/env bash
# mqadmin.sh: the same scenario with the real mqadmin on a Java broker and on ours, one after the other;
# each command's output is normalised (only what has to differ) and compared line by line.
#   SUT=java compares Java with Java: what the script and its normalisation are checked with.
#   VERBOSE=1 prints Java's normalised output of every command.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java javac mvn
need_server

compile_java
JVM=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Duser.home=$WORK" "-Drocketmq.client.logRoot=$WORK/clientlogs"
  "-Drmq.logback.configurationFile=$KIT/rocketmq/conf/quiet.logback.xml" -cp "$CLASSPATH_ALL")

RAW=            # folder of this side's outputs
ADMIN_PID=

start_admin() {   # start_admin NAMESRV
  mkfifo "$RAW/in" "$RAW/out"
  NAMESRV_ADDR="$1" ROCKETMQ_HOME="$KIT/rocketmq" "${JVM[@]}" org.apache.rocketmq.tools.command.AdminLoop \
    <"$RAW/in" >"$RAW/out" 2>"$RAW/admin.err" & ADMIN_PID=$!; PIDS+=("$ADMIN_PID")
  exec {TO}>"$RAW/in" {FROM}<"$RAW/out"
}

# admin NAME ARG...: runs one command, keeps its output as RAW/NAME, and prints it.
admin() {
  local name="$1" line; shift
  (IFS=$'\t'; printf '%s\n' "$*") >&"$TO"
  : > "$RAW/$name"
  while IFS= read -r -t 90 -u "$FROM" line; do
    [ "$line" != "--end--" ] || return 0
    printf '%s\n' "$line" >> "$RAW/$name"
  done
  echo "NO ANSWER WITHIN 90 s" >> "$RAW/$name"; say "mqadmin $1: no answer"; return 0
}

stop_admin() { exec {TO}>&-; wait "$ADMIN_PID" || true; exec {FROM}<&-; forget_pid "$ADMIN_PID"; }

# until_matches COUNT REGEX NAME ARG...: repeats a command until so many lines of its output match (indexes and
# offsets follow later), for PATIENCE seconds at most.
PATIENCE=60
until_matches() {
  local count="$1" regex="$2" end=$(($(date +%s) + PATIENCE)); shift 2
  while :; do
    admin "$@"
    [ "$(grep -c -- "$regex" "$RAW/$1")" -lt "$count" ] || return 0
    [ "$(date +%s)" -lt "$end" ] || return 0   # the comparison will show what it got instead
    sleep 0.3
  done
}
until_holds() { until_matches 1 "$@"; }

# scenario SIDE SUT: runs everything, leaves one file per step in WORK/SIDE.
scenario() {
  local side="$1" sut="$2" ns_port port ns b unique offset_id i hold_in hold_out hold_pid
  RAW="$WORK/$side"; mkdir -p "$RAW"
  ns_port="$(free_port)"; port="$(free_port)"; ns="127.0.0.1:$ns_port"; b="127.0.0.1:$port"
  start_namesrv "$sut" "$WORK/$side-ns" "$ns_port"
  broker_conf "$WORK/$side.conf" "$port" "$WORK/$side-broker/store" brokerName=broker-a traceTopicEnable=true
  start_broker "$sut" "$WORK/$side-broker" "$WORK/$side.conf" "$ns"
  printf 's#%s#NAMESRV#g\ns#%s#BROKER#g\ns#127.0.0.1:%s#BROKER_FAST#g\ns#%s#DIR#g\n' \
    "$ns" "$b" $((port - 2)) "$WORK/$side-broker" > "$RAW/own.sed"
  start_admin "$ns"

  until_holds broker-a clusterList clusterList -n "$ns"
  admin updateTopic updateTopic -n "$ns" -c DefaultCluster -t AdminTopic -r 4 -w 4
  admin updateTopic-broker updateTopic -n "$ns" -b "$b" -t AdminTopic2 -r 2 -w 3 -p 6
  admin updateTopic-bad updateTopic -n "$ns" -b "$b" -t 'bad topic!' -r 2 -w 2
  until_holds broker-a topicRoute topicRoute -n "$ns" -t AdminTopic
  until_holds AdminTopic2 topicList topicList -n "$ns"
  admin topicList-cluster topicList -n "$ns" -c
  admin topicRoute-missing topicRoute -n "$ns" -t NoSuchTopic
  admin updateSubGroup updateSubGroup -n "$ns" -c DefaultCluster -g admin_group -s true -r 3 -q 2
  admin updateSubGroup-broker updateSubGroup -n "$ns" -b "$b" -g admin_group2 -d false
  admin topicStatus-empty topicStatus -n "$ns" -t AdminTopic

  for i in 0 1 2 3 4 5 6 7 8 9; do
    admin "sendMessage$i" sendMessage -n "$ns" -t AdminTopic -p "body number $i" -k "key$i both" -c Tag$((i % 2)) \
      -b broker-a -i $((i % 4))
  done
  admin sendMessage-free sendMessage -n "$ns" -t AdminTopic2 -p "body anywhere" -k lone
  unique="$(awk '/SEND_OK/ {print $NF; exit}' "$RAW/sendMessage4")"
  admin sendMessage-auto sendMessage -n "$ns" -t AutoTopic -p x

  until_holds "number=3\|0 *3 " topicStatus topicStatus -n "$ns" -t AdminTopic
  admin consumeMessage consumeMessage -n "$ns" -t AdminTopic -b broker-a -i 1 -o 0 -c 3
  admin consumeMessage-all consumeMessage -n "$ns" -t AdminTopic
  until_holds "queryMsg\|#Message\|broker-a\|Storage" queryMsgByUniqueKey queryMsgByUniqueKey -n "$ns" -t AdminTopic -i "$unique"
  until_holds "broker-a\|[0-9A-F]\{32\}" queryMsgByKey queryMsgByKey -n "$ns" -t AdminTopic -k both
  admin queryMsgByKey-missing queryMsgByKey -n "$ns" -t AdminTopic -k nosuchkey
  i="$(sed -n 's/^CommitLog Offset:[[:space:]]*//p' "$RAW/queryMsgByUniqueKey" | head -1)"
  offset_id="$(printf '7F000001%08X%016X' "$port" "${i:-0}")"
  admin queryMsgById queryMsgById -n "$ns" -t AdminTopic -i "$offset_id"
  admin queryMsgById-missing queryMsgById -n "$ns" -t AdminTopic -i "$(printf '7F000001%08X%016X' "$port" 999999999)"
  admin printMsg printMsg -n "$ns" -t AdminTopic
  admin printMsg-tag printMsg -n "$ns" -t AdminTopic -s Tag1 -d true

  # A producer and a push consumer that stay, and have consumed and committed everything.
  mkfifo "$RAW/hold-in" "$RAW/hold-out"
  NAMESRV_ADDR="$ns" "${JVM[@]}" Keyed hold AdminTopic admin_producer admin_group \
    <"$RAW/hold-in" >"$RAW/hold-out" 2>/dev/null & hold_pid=$!; PIDS+=("$hold_pid")
  exec {hold_in}>"$RAW/hold-in" {hold_out}<"$RAW/hold-out"
  read -r -t 60 -u "$hold_out" _ || true
  echo 10 >&"$hold_in"; read -r -t 90 -u "$hold_out" line || line="nothing within 90 s"
  echo "$line" > "$RAW/push-consumer"
  # A group without offsets has no rows, and no difference either: wait for a row of every queue. The
  # client commits with a pull that comes after consuming, or 10 s after its start.
  until_matches 4 '^AdminTopic .* 0 \+[0-9]\{4\}-' consumerProgress consumerProgress -n "$ns" -g admin_group
  admin consumerProgress-topic consumerProgress -n "$ns" -g admin_group -t AdminTopic -s true
  admin consumerProgress-all consumerProgress -n "$ns"
  until_holds "127.0.0.1" consumerConnection consumerConnection -n "$ns" -g admin_group
  admin consumerConnection-missing consumerConnection -n "$ns" -g no_such_group
  until_holds "127.0.0.1" producerConnection producerConnection -n "$ns" -g admin_producer -t AdminTopic
  admin producerConnection-missing producerConnection -n "$ns" -g no_such_group -t AdminTopic
  admin queryMsgByUniqueKey-consumed queryMsgByUniqueKey -n "$ns" -t AdminTopic -i "$unique"
  admin statsAll statsAll -n "$ns"
  admin statsAll-topic statsAll -n "$ns" -t AdminTopic
  exec {hold_in}>&-; wait "$hold_pid" || true; exec {hold_out}<&-; forget_pid "$hold_pid"

  admin brokerStatus brokerStatus -n "$ns" -b "$b"
  admin brokerStatus-cluster brokerStatus -n "$ns" -c DefaultCluster
  admin clusterList-more clusterList -n "$ns" -m
  admin getBrokerConfig getBrokerConfig -n "$ns" -b "$b"
  admin updateBrokerConfig updateBrokerConfig -n "$ns" -b "$b" -k fileReservedTime -v 71
  admin getBrokerConfig-updated getBrokerConfig -n "$ns" -c DefaultCluster
  grep -h fileReservedTime "$RAW/getBrokerConfig-updated" > "$RAW/updateBrokerConfig-effect" || true
  admin updateBrokerConfig-unknown updateBrokerConfig -n "$ns" -b "$b" -k noSuchKey -v 1
  # The client sends a trace from a thread of its own and may close the connection before it: on a busy
  # machine some are lost, with a Java broker too ("send trace data failed" in the client's log).
  for i in 1 2 3; do
    admin sendMessage-traced sendMessage -n "$ns" -t AdminTopic -p traced -b broker-a -i 0 -m true
    unique="$(awk '/SEND_OK/ {print $NF; exit}' "$RAW/sendMessage-traced")"
    PATIENCE=20 until_holds '^Pub' queryMsgTraceById queryMsgTraceById -n "$ns" -i "$unique"
    ! grep -q '^Pub' "$RAW/queryMsgTraceById" || break
  done
  admin queryMsgTraceById-missing queryMsgTraceById -n "$ns" -i 00
  admin wipeWritePerm wipeWritePerm -n "$ns" -b broker-a
  admin topicRoute-wiped topicRoute -n "$ns" -t AdminTopic
  admin addWritePerm addWritePerm -n "$ns" -b broker-a
  admin topicRoute-restored topicRoute -n "$ns" -t AdminTopic
  admin deleteTopic deleteTopic -n "$ns" -c DefaultCluster -t AdminTopic2
  admin topicRoute-deleted topicRoute -n "$ns" -t AdminTopic2
  admin topicStatus-deleted topicStatus -n "$ns" -t AdminTopic2
  admin topicList-after topicList -n "$ns"
  stop_admin
  stop_server "$WORK/$side-broker/broker.pid"; stop_server "$WORK/$side-ns/namesrv.pid"
}

# Keys that only Callboard has are no difference.
OWN_KEYS="$(sed -n 's/.*= "\([A-Za-z]*\)".*/\1/p' "$ROOT/src/config/own.rs" | paste -sd'|')"

# normalise NAME < raw: what has to differ between two runs becomes a word; the rest is compared.
normalise() {
  sed -E -f "$RAW/own.sed" | sed -E '
    s/\x1b\[[0-9;]*m//g
    s/[0-9]{4}-[0-9]{2}-[0-9]{2}[ #][0-9]{2}:[0-9]{2}:[0-9]{2}([,.:][0-9]+)?/TIME/g
    s/\b[0-9A-F]{32}\b/ID32/g; s/\b[0-9A-F]{56}\b/ID56/g
    s/\b1[0-9]{12}\b/MS/g
    s/127\.0\.0\.1:[0-9]+/PEER/g
    s/(@|#)[0-9]+(#[0-9]+)+/\1PID/g
    # Of a stack trace the messages are compared, not the places; logging chatter of the tool is left out.
    s/^\s*at [a-z].*//; s/^\t\.\.\. [0-9]+ more//; s/^(SLF4J|RocketMQLog|WARNING|OpenJDK).*//
    s/[[:space:]]+$//' | case "$1" in
    clusterList*)   # rates, waits and memory figures of the moment
      sed -E 's/[0-9]+\.[0-9]+(\([0-9a-z., ]*\))?/RATE/g; s/RATE\([^)]*\)/RATE/g; s/[0-9]+-[0-9]+\([^)]*\)/TIMER/g; s/ +/ /g';;
    consumerProgress*|consumerConnection*|queryMsgByUniqueKey*|queryMsgById*)
      # client ids carry the address and pid of the machine; the rate is the moment's
      sed -E 's/([0-9]{1,3}\.){3}[0-9]{1,3}@[A-Za-z0-9#@_-]+/CLIENTID/g; s/([0-9]{1,3}\.){3}[0-9]{1,3}/IP/g
              s/^(Consume TPS:).*/\1 RATE/; s/ +/ /g' |
        if [ "$1" = consumerProgress-all ]; then
          # The tools' own consumers come and go: one whose heartbeat Java finishes after its connection
          # closed stays in Java's list for two minutes.
          sed -E 's/ [0-9]+( [0-9]+)$/ RATE\1/; s/^(TOOLS_CONSUMER) [01] .*/\1/'
        else cat; fi;;
    producerConnection*) sed -E 's/([0-9]{1,3}\.){3}[0-9]{1,3}@[A-Za-z0-9#@_-]+/CLIENTID/g; s/ +/ /g';;
    statsAll*)   # rates, and counts that depend on when in the sampler's ten seconds a message came
      sed -E 's/[0-9]+\.[0-9]+/RATE/g; s/ +/ /g; s/(RATE) [0-9]+( NO_CONSUMER| [0-9]+)$/\1 COUNT\2/; s/(COUNT) [0-9]+$/\1 COUNT/' | sort;;
    brokerStatus*)
      # The same keys; equal values where the scenario decides them, the rest belongs to the machine.
      sort | awk '{ key = $0; sub(/[ \t]*:.*/, "", key); value = $0; sub(/^[^:]*:[ \t]*/, "", value)
        if (key ~ /(^|[ _])(brokerVersion|brokerVersionDesc|brokerActive|putMessageFailedTimes|msgPutTotalTodayNow|msgGetTotalTodayNow|dispatchBehindBytes|msgPutTotalYesterdayMorning|msgGetTotalYesterdayMorning|msgPutTotalTodayMorning|msgGetTotalTodayMorning|putMessageTimesTotal|commitLogMinOffset|scheduleMessageOffset_[0-9]+|remainHowManyDataToFlush|remainHowManyDataToCommit|remainTransientStoreBufferNumbs)$/) print key, value
        else { gsub(/[0-9]/, "9", value); gsub(/9+/, "9", value); gsub(/9\.9/, "9", value); gsub(/9E-9/, "9", value)
          if (key ~ /Tps$/) value = "RATES"; print key, value } }' |
        sed 's#DIR[^ ]*#DIR#; s#/[a-z][^ ]*##';;
    queryMsgTraceById*) sed -E 's/\b[0-9]+ms/COST/; s/([0-9]{1,3}\.){3}[0-9]{1,3}/IP/; s/ +/ /g';;
    sendMessage-free|sendMessage-auto) sed -E 's/^(broker-a +)[0-9]+/\1ANY/';;
    getBrokerConfig*) grep -E '=|^=' | grep -vE "^ *(${OWN_KEYS}) *=" | sort;;
    topicList|topicList-after) sort;;
    topicList-cluster) sed -E 's/ +/ /g' | sort;;
    printMsg*|consumeMessage*)  # the order over the queues is that of a set of queues
      sed -E 's/bornHost=[^,]*, //; s/bornHost=[^ ,]*//; s/ +/ /g' | sort;;
    *) cat;;
  esac | sed '/^$/d'
}

scenario java java
scenario sut "$SUT"

# allowed STEP: what may differ, with the reason; the rest of the diff's lines pass through.
allowed() {
  case "$1" in
    getBrokerConfig*)
      # Keys that only Callboard has are additions ("> key" without a Java line of that key). Of Java's
      # keys those may have another value by which each machine or program describes itself.
      awk '{ key = $2 } /^</ { java[key] = $0 } /^>/ { ours[key] = $0 }
        END { for (key in java) { print java[key]; if (key in ours) print ours[key] } }' |
        grep -vE '^[<>] *[A-Za-z]*(Nums|PoolQueueCapacity|[Hh]ome|HomeDir|brokerIP2|[Pp]ath|[Pp]ath[A-Z][A-Za-z]*|Port|hostName|bindAddress|namesrvAddr) *=' | sort -k2,2 -k1,1;;
    *) cat;;
  esac
}

for file in "$WORK"/java/*; do
  step="${file##*/}"
  case "$step" in in|out|hold-in|hold-out|own.sed|admin.err|*.norm) continue;; esac
  RAW="$WORK/java"; normalise "$step" <"$WORK/java/$step" >"$WORK/java/$step.norm"
  RAW="$WORK/sut"; normalise "$step" <"$WORK/sut/$step" >"$WORK/sut/$step.norm"
  [ -z "${VERBOSE:-}" ] || { echo "--- $step on Java"; cat "$WORK/java/$step.norm"; }
  if differing="$(diff "$WORK/java/$step.norm" "$WORK/sut/$step.norm" | grep '^[<>]' | allowed "$step")"; then :; fi
  if [ -z "$differing" ]; then
    ok "mqadmin $step ($(wc -l <"$WORK/java/$step.norm") lines)"
  else
    not_ok "mqadmin $step (< Java, > $SUT)"; printf '%s\n' "$differing" | head -"${DIFF_LINES:-12}" | cut -c1-180 | sed 's/^/    /'
  fi
done
finish
