#!/usr/bin/env bash
# compare.sh: the Java broker, ours and the echo floor, measured with one load generator.
#
#   benches/compare.sh [OUTPUT_DIR]
#
# Starts the servers in turn, RUNS times interleaved, and prints one markdown table of medians;
# ratios are against Java. Build first: cargo build --release --bins
# Env: BIN=folder of our programs (target/release)  KIT=folder with rocketmq/{namesrv,broker}.sh   RUNS=5  SECONDS_PER_ROW=8
#      BACKLOG=2000000 KINDS=100000 (messages of those rows)
#      PENDING=0 PENDING_SPREAD=300 (so many timed messages, with times spread over so many seconds; left out with 0)
#      SERVERS="java ours echo"  ROWS=regex (only rows that match)  BROKER_HEAP=2g BROKER_DIRECT=1g
# Everything runs on 127.0.0.1 and stops with the script.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bin="${BIN:-${CARGO_TARGET_DIR:-$here/target}/release}"
. "$here/benches/memory.sh"
out="${1:-$(mktemp -d)}"; mkdir -p "$out"; out="$(cd "$out" && pwd)"
lines="$out/results.jsonl"; : > "$lines"
runs="${RUNS:-5}"; seconds="${SECONDS_PER_ROW:-8}"; backlog="${BACKLOG:-2000000}"; kinds="${KINDS:-100000}"
pending="${PENDING:-0}"; pending_spread="${PENDING_SPREAD:-300}"
servers="${SERVERS:-java ours echo}"; wanted="${ROWS:-.}"
kit="${KIT:-}"
ns_port="${NS_PORT:-19876}"; broker_port="${BROKER_PORT:-20911}"; echo_port="${ECHO_PORT:-21911}"
ns="127.0.0.1:$ns_port"; broker="127.0.0.1:$broker_port"
export BROKER_HEAP="${BROKER_HEAP:-2g}" BROKER_DIRECT="${BROKER_DIRECT:-1g}" NS_HEAP="${NS_HEAP:-128m}"

[ -x "$bin/mqbench" ] || { echo "no $bin/mqbench: cargo build --release --bins" >&2; exit 1; }
if [[ " $servers " == *" java "* && ! -x "$kit/rocketmq/broker.sh" ]]; then
  echo "KIT is not set to a folder with rocketmq/broker.sh: leaving java out" >&2
  servers="${servers/java/}"
fi

pids=()
stop_ours() {
  for pid in "${pids[@]:-}"; do [ -n "$pid" ] && kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]:-}"; do [ -n "$pid" ] && wait "$pid" 2>/dev/null || true; done
  pids=()
}
stop_java() {
  [ -n "${java_dir:-}" ] || return 0
  "$kit/rocketmq/broker.sh" stop "$java_dir/broker" >/dev/null 2>&1 || true
  "$kit/rocketmq/namesrv.sh" stop "$java_dir/namesrv" >/dev/null 2>&1 || true
  java_dir=
}
trap 'stop_ours; stop_java; rm -f "$out/memory"' EXIT

conf() { # conf FILE FLUSH
  printf '%s\n' brokerClusterName=DefaultCluster brokerName=broker-a brokerId=0 brokerIP1=127.0.0.1 \
    "listenPort=$broker_port" "namesrvAddr=$ns" "flushDiskType=$2" autoCreateTopicEnable=true \
    brokerFastFailureEnable=false waitTimeMillsInSendQueue=20000 diskMaxUsedSpaceRatio=95 \
    enablePropertyFilter=true transactionTimeOut=600000 > "$1"
}

# start SERVER FLUSH DIR: sets pid, start_ms and where (arguments for mqbench)
start() {
  rm -rf "$3"; mkdir -p "$3"
  warm_memory "$out/memory"
  case "$1" in
    java)
      java_dir="$3"; conf "$3/broker.conf" "$2"
      NS_PORT=$ns_port "$kit/rocketmq/namesrv.sh" start "$3/namesrv" >/dev/null
      local begin; begin=$(date +%s%3N)
      NAMESRV_ADDR=$ns "$kit/rocketmq/broker.sh" start "$3/broker.conf" "$3/broker" >/dev/null
      pid="$(cat "$3/broker/broker.pid")"
      "$bin/mqbench" wait "$broker" >/dev/null
      start_ms=$(( $(date +%s%3N) - begin ));;
    ours)
      conf "$3/broker.conf" "$2"; echo "storePathRootDir=$3/store" >> "$3/broker.conf"
      printf 'listenPort=%s\nkvConfigPath=%s/kvConfig.json\n' "$ns_port" "$3" > "$3/namesrv.conf"
      "$bin/namesrv" -c "$3/namesrv.conf" > "$3/namesrv.log" 2>&1 & pids+=($!)
      "$bin/mqbench" wait "$ns" --code 106 >/dev/null
      local begin; begin=$(date +%s%3N)
      "$bin/broker" -c "$3/broker.conf" -n "$ns" > "$3/broker.log" 2>&1 & pid=$!; pids+=("$pid")
      "$bin/mqbench" wait "$broker" >/dev/null
      start_ms=$(( $(date +%s%3N) - begin ));;
    echo)
      local begin; begin=$(date +%s%3N)
      "$bin/mqbench" echo --listen "127.0.0.1:$echo_port" > "$3/echo.log" 2>&1 & pid=$!; pids+=("$pid")
      "$bin/mqbench" wait "127.0.0.1:$echo_port" >/dev/null
      start_ms=$(( $(date +%s%3N) - begin ));;
  esac
  where=(--namesrv "$ns")
  [ "$1" = echo ] && where=(--namesrv "127.0.0.1:$echo_port")
  "$bin/mqbench" wait "${where[1]}" --code 105 --topic TBW102 >/dev/null
}


# row SERVER RUN NAME MODE ARGS...
row() {
  local server="$1" run="$2" name="$3" mode="$4"; shift 4
  [[ "$name" =~ $wanted ]] || return 0
  "$bin/mqbench" "$mode" "${where[@]}" --topic "bench${topic_suffix:-}" --queues 8 --server-pid "$pid" --json \
    --label "row=$name" --label "system=$server" --label "run=$run" --label "start_ms=$start_ms" "$@" \
    >> "$lines" 2>> "$out/errors.log" || echo "$server: $name failed, see $out/errors.log" >&2
}

timed=(--duration "$seconds" --warm-up 2)
async_rows() { # SERVER RUN
  for body in 128 1024; do
    for senders in 1 16 64; do
      row "$1" "$2" "$body B, $senders senders" produce --body $body --senders $senders "${timed[@]}"
    done
    row "$1" "$2" "$body B, window 256" produce --body $body --window 256 "${timed[@]}"
    row "$1" "$2" "$body B, batches of 16, window 16" produce --body $body --batch 16 --window 16 "${timed[@]}"
  done
  if [ "$1" = echo ]; then
    row "$1" "$2" "1024 B at 1000/s" produce --body 1024 --rate 1000 "${timed[@]}"
    return
  fi
  row "$1" "$2" "1024 B at 1000/s" latency --body 1024 --rate 1000 "${timed[@]}"
  [[ "backlog" =~ $wanted ]] || [[ "drain" =~ $wanted ]] || return 0
  topic_suffix=backlog
  "$bin/mqbench" produce "${where[@]}" --topic benchbacklog --queues 8 --body 1024 --batch 16 --window 16 \
    --count "$backlog" --json > /dev/null 2>> "$out/errors.log" || true
  row "$1" "$2" "drain a backlog of $backlog" consume
  topic_suffix=
}
kind_rows() { # SERVER RUN
  local kind
  [ "$1" != echo ] || return 0
  for kind in transactions timed pop sql orderly; do
    topic_suffix="-$kind"
    row "$1" "$2" "kind: $kind" kind "$kind" --count "$kinds"
  done
  topic_suffix=
}
# Many timed messages at a time: how late they come, and what the broker holds while half of them wait.
pending_rows() { # SERVER RUN
  if [ "$1" = echo ] || [ "$pending" = 0 ]; then return; fi
  local name="pending: $pending timed messages over $pending_spread s" load
  [[ "$name" =~ $wanted ]] || return 0
  topic_suffix=-pending
  row "$1" "$2" "$name" kind timed --count "$pending" --spread "$pending_spread" --senders 64 & load=$!
  sleep $((pending_spread / 2))
  "$bin/mqbench" idle --server-pid "$pid" --duration 3 --label "row=$name, half of them waiting" \
    --label "system=$1" --label "run=$2" >> "$lines"
  wait "$load"
  topic_suffix=
}
sync_rows() { # SERVER RUN
  # What the disk takes at best, with one record after the other.
  if [ "$1" = ours ] && [[ "SYNC_FLUSH" =~ $wanted ]]; then
    "$bin/mqbench" disk "$out" --body 1300 --duration "$seconds" --json \
      --label "row=SYNC_FLUSH 1024 B, 1 in flight" --label system=disk --label "run=$2" >> "$lines"
  fi
  for window in 1 64 1024; do
    row "$1" "$2" "SYNC_FLUSH 1024 B, $window in flight" produce --body 1024 --window $window "${timed[@]}"
  done
}

for run in $(seq 1 "$runs"); do
  for server in $servers; do
    for flush in ASYNC_FLUSH SYNC_FLUSH; do
      [ "$server" = echo ] && [ $flush = SYNC_FLUSH ] && continue
      start "$server" $flush "$out/$server"
      if [ $flush = ASYNC_FLUSH ]; then async_rows "$server" "$run"; kind_rows "$server" "$run"; pending_rows "$server" "$run"; else sync_rows "$server" "$run"; fi
      stop_ours; stop_java; rm -rf "$out/$server"
    done
  done
done
"$bin/mqbench" table "$lines" --base java | tee "$out/table.md"
