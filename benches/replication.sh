#!/usr/bin/env bash
# replication.sh: a pair of Java brokers and a pair of ours, one load generator, in turn.
#
#   benches/replication.sh [OUTPUT_DIR]
#
# Rows, each RUNS times for each pair, interleaved; the table has medians and ratios ours / Java:
#   async        ASYNC_MASTER, 1 KiB, window 256: messages a second, CPU per message of master and of slave,
#                how far the slave is behind at the end of the load and how long until it has all
#   sync         SYNC_MASTER with inSyncReplicas=2, 16 synchronous senders of 1 KiB
#   sync-latency the same, 1,000 messages a second: time to the answer
#   alone        the master without a slave under the load of async: what replication adds
# Build first: cargo build --release --bins. Needs the kit (KIT).
# Env: BIN=folder of our programs (target/release)  RUNS=3  SECONDS_PER_ROW=8  PAIRS="java ours"  ROWS=regex
set -euo pipefail
SERVER="${BIN:-${CARGO_TARGET_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target}/release}"
export BROKER_HEAP="${BROKER_HEAP:-2g}" BROKER_DIRECT="${BROKER_DIRECT:-1g}"
. "$(dirname "${BASH_SOURCE[0]}")/../tests/conformance/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/memory.sh"
need_kit java
need_server
out="${1:-$WORK/out}"; mkdir -p "$out"; lines="$out/results.tsv"; : > "$lines"
runs="${RUNS:-3}"; seconds="${SECONDS_PER_ROW:-8}"; pairs="${PAIRS:-java ours}"; wanted="${ROWS:-.}"

cpu_ms() { # of a process, all threads
  local ticks; ticks="$(awk '{print $14 + $15}' "/proc/$1/stat")"
  echo $(( ticks * 1000 / $(getconf CLK_TCK) ))
}
ha() { "$SERVER/mqadmin" haStatus -b "$1" --json 2>/dev/null | tr ',{}[]' '\n' | sed -n "s/^ *\"$2\": *\([0-9-]*\).*/\1/p" | head -1; }
slave_is_there() { "$SERVER/mqadmin" haStatus -b "127.0.0.1:$1" --json 2>/dev/null | grep -q slaveAckOffset; }
in_sync() { [ "$(ha "127.0.0.1:$1" masterCommitLogMaxOffset)" = "$(ha "127.0.0.1:$2" maxOffset)" ]; }
field() { tr ',{}' '\n' <<<"$1" | sed -n "s/^ *\"$2\": *\([0-9.]*\).*/\1/p" | head -1; }
put() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >> "$lines"; }

# measure PAIR ROW
measure() {
  local pair="$1" row="$2" dir="$WORK/$1-$2" mport sport ns_port keys who load result count
  who=callboard; [ "$pair" != java ] || who=java
  ns_port="$(free_port)"; ns="127.0.0.1:$ns_port"; mport="$(free_port)"; sport="$(free_port)"
  mkdir -p "$dir"
  warm_memory "$WORK/memory"
  start_namesrv "$who" "$dir/ns" "$ns_port"
  keys=(brokerIP2=127.0.0.1 waitTimeMillsInSendQueue=20000 diskMaxUsedSpaceRatio=95 haSendHeartbeatInterval=1000)
  [[ "$row" != sync* ]] || keys+=(brokerRole=SYNC_MASTER inSyncReplicas=2 slaveTimeout=10000)
  broker_conf "$dir/m.conf" "$mport" "$dir/m/store" "${keys[@]}"
  broker_conf "$dir/s.conf" "$sport" "$dir/s/store" "${keys[@]}" brokerRole=SLAVE brokerId=1
  start_broker "$who" "$dir/m" "$dir/m.conf" "$ns"
  if [ "$row" != alone ]; then
    start_broker "$who" "$dir/s" "$dir/s.conf" "$ns"
    wait_until 60 slave_is_there "$mport" || die "no slave"
  fi
  "$SERVER/mqbench" wait "$ns" --code 105 --topic TBW102 >/dev/null
  load=(produce --window 256)
  [ "$row" != sync ] || load=(produce --senders 16)
  [ "$row" != sync-latency ] || load=(latency --rate 1000)
  # The JVM compiles what is hot first.
  "$SERVER/mqbench" "${load[@]}" --namesrv "$ns" --topic Warm --queues 8 --duration 5 >/dev/null
  [ "$row" = alone ] || wait_until 60 in_sync "$mport" "$sport" || die "the slave stays behind"
  local mpid spid m0 s0=0 m1 s1=0 begun lag=0 caught=0
  mpid="$(cat "$dir/m/broker.pid")"; m0="$(cpu_ms "$mpid")"
  if [ "$row" != alone ]; then spid="$(cat "$dir/s/broker.pid")"; s0="$(cpu_ms "$spid")"; fi
  result="$("$SERVER/mqbench" "${load[@]}" --namesrv "$ns" --topic Row --queues 8 --duration "$seconds" --json)"
  if [ "$row" != alone ]; then
    begun="$(date +%s%3N)"
    lag=$(( $(ha "127.0.0.1:$mport" masterCommitLogMaxOffset) - $(ha "127.0.0.1:$sport" maxOffset) ))
    wait_until 120 in_sync "$mport" "$sport" || die "the slave stays behind"
    caught=$(( $(date +%s%3N) - begun ))
    s1="$(cpu_ms "$spid")"
  fi
  m1="$(cpu_ms "$mpid")"
  count="$(field "$result" messages)"
  put "$row" "$pair" messages_per_s "$(field "$result" messages_per_second)"
  put "$row" "$pair" master_cpu_us "$(awk "BEGIN {print ($m1 - $m0) * 1000 / $count}")"
  if [ "$row" != alone ]; then
    put "$row" "$pair" slave_cpu_us "$(awk "BEGIN {print ($s1 - $s0) * 1000 / $count}")"
    put "$row" "$pair" lag_bytes "$lag"
    put "$row" "$pair" caught_up_ms "$caught"
  fi
  # Of the answers; a latency run tells the way to a consumer, too.
  for q in p50 p99 p999; do put "$row" "$pair" "${q}_us" "$(field "${result#*\"latency\":}" "$q"_us)"; done
  stop_server "$dir/m/broker.pid" KILL
  [ "$row" = alone ] || stop_server "$dir/s/broker.pid" KILL
  stop_server "$dir/ns/namesrv.pid" KILL
  rm -rf "$dir"
}

for run in $(seq "$runs"); do
  for row in alone async sync sync-latency; do
    [[ "$row" =~ $wanted ]] || continue
    for pair in $pairs; do say "run $run: $row $pair"; measure "$pair" "$row"; done
  done
done

echo "$(date -u +%Y-%m-%d), $(nproc) cores, $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), RUNS=$runs SECONDS_PER_ROW=$seconds"
echo
echo "| row | figure | Java | ours | ours / Java |"
echo "| --- | --- | ---: | ---: | ---: |"
awk -F'\t' '
  function median(key,   n, i, j, t, v) {
    n = split(values[key], v, " ")
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (v[j] + 0 < v[i] + 0) { t = v[i]; v[i] = v[j]; v[j] = t }
    return n ? v[int((n + 1) / 2)] : ""
  }
  { key = $1 "\t" $3; if (!(key in seen)) { seen[key] = 1; order[++count] = key } values[$2 "\t" key] = values[$2 "\t" key] " " $4 }
  END {
    for (i = 1; i <= count; i++) {
      split(order[i], part, "\t"); j = median("java\t" order[i]); o = median("ours\t" order[i])
      ratio = (j + 0 > 0 && o != "") ? sprintf("%.2f", o / j) : ""
      printf "| %s | %s | %s | %s | %s |\n", part[1], part[2], j, o, ratio
    }
  }' "$lines"
