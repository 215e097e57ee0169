#!/usr/bin/env bash
# scale.sh: what many queues, much stored and a cold consumer cost our broker.
#
#   benches/scale.sh [OUTPUT_DIR]
#
# Every row is measured twice in the same run, `base` and `scaled`, and the table's ratios are scaled / base:
#
#   queues   8 queues, and TOPICS x QUEUES of them with traffic over all: processor time per message, and
#            what the queues cost in memory, files, idle processor time and start-up
#   stored   an empty store, and SEGMENTS GiB stored sparsely in SPARSE_QUEUES queues: memory, time to ready
#   cold     a consumer that drains COLD_MIB that are in memory, and that are not; a tail consumer alone, and
#            beside one that drains cold data: end-to-end latency; and `disk`: beside dd of the same files
#
# Build first: cargo build --release --bins. A small try: TOPICS=2 QUEUES=50 SEGMENTS=3 COLD_MIB=128 RUNS=1
# Env: BIN=folder of our programs (target/release)  RUNS=3  SECONDS_PER_ROW=8  ROWS=regex of queues|stored|cold
#      TOPICS=20 QUEUES=1000  SEGMENTS=100 SPARSE_QUEUES=100  COLD_MIB=8192
# Everything runs on 127.0.0.1 and stops with the script.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bin="${BIN:-${CARGO_TARGET_DIR:-$here/target}/release}"
. "$here/benches/memory.sh"
out="${1:-$(mktemp -d)}"; mkdir -p "$out"; out="$(cd "$out" && pwd)"
lines="$out/results.jsonl"; : > "$lines"
runs="${RUNS:-3}"; seconds="${SECONDS_PER_ROW:-8}"; wanted="${ROWS:-.}"
topics="${TOPICS:-20}"; queues="${QUEUES:-1000}"
segments="${SEGMENTS:-100}"; sparse_queues="${SPARSE_QUEUES:-100}"; cold_mib="${COLD_MIB:-8192}"
ns_port="${NS_PORT:-19876}"; broker_port="${BROKER_PORT:-20911}"
ns="127.0.0.1:$ns_port"; broker="127.0.0.1:$broker_port"
store="$out/store"
timed=(--duration "$seconds" --warm-up 2)

[ -x "$bin/mqbench" ] || { echo "no $bin/mqbench: cargo build --release --bins" >&2; exit 1; }

pid=; ns_pid=; drain_pid=
stop() { # stop SIGNAL
  if [ -n "$pid" ]; then kill "-$1" "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  pid=
}
cleanup() {
  [ -z "$drain_pid" ] || kill -- "-$drain_pid" 2>/dev/null || true
  stop TERM
  [ -z "$ns_pid" ] || kill "$ns_pid" 2>/dev/null || true
  rm -rf "$store" "$out/memory" "$out/emptied"
}
trap cleanup EXIT
trap 'exit 130' INT; trap 'exit 143' TERM

printf 'listenPort=%s\nkvConfigPath=%s/kvConfig.json\n' "$ns_port" "$out" > "$out/namesrv.conf"
"$bin/namesrv" -c "$out/namesrv.conf" > "$out/namesrv.log" 2>&1 & ns_pid=$!
"$bin/mqbench" wait "$ns" --code 106 > /dev/null
printf '%s\n' brokerClusterName=DefaultCluster brokerName=broker-a brokerId=0 brokerIP1=127.0.0.1 \
  "listenPort=$broker_port" flushDiskType=ASYNC_FLUSH autoCreateTopicEnable=true \
  diskMaxUsedSpaceRatio=95 "storePathRootDir=$store" > "$out/broker.conf"

# Starts the broker on the store as it is: sets pid and start_ms.
start() {
  local begin; begin=$(date +%s%3N)
  "$bin/broker" -c "$out/broker.conf" -n "$ns" >> "$out/broker.log" 2>&1 & pid=$!
  "$bin/mqbench" wait "$broker" > /dev/null
  start_ms=$(( $(date +%s%3N) - begin ))
  "$bin/mqbench" wait "$ns" --code 105 --topic TBW102 > /dev/null
}
# Takes the store away. Its files stay, emptied, until the script ends: for some minutes ext4 goes past each inode that
# was deleted (fs/ext4/ialloc.c, recently_deleted), and with 20,000 of them a new file took milliseconds.
no_store() {
  stop KILL
  [ -e "$store" ] || return 0
  find "$store" -type f -exec truncate -s 0 {} +
  mkdir -p "$out/emptied"; mv "$store" "$(mktemp -d "$out/emptied/XXXXXX")"
}
fresh() { no_store; warm_memory "$out/memory"; start; }

labels() { # labels ROW SYSTEM RUN
  label=(--label "row=$1" --label "system=$2" --label "run=$3")
}
run_row() { # run_row ROW SYSTEM RUN MODE ARGS...
  labels "$1" "$2" "$3"; local mode="$4"; shift 4
  "$bin/mqbench" "$mode" --namesrv "$ns" --server-pid "$pid" --json "${label[@]}" "$@" \
    >> "$lines" 2>> "$out/errors.log" || echo "${label[*]}: failed, see $out/errors.log" >&2
}
quiet() { "$bin/mqbench" "$@" > /dev/null 2>> "$out/errors.log"; }
# What the broker holds and spends with nothing to do.
idle_row() { # idle_row ROW SYSTEM RUN MORE_LABELS...
  labels "$1" "$2" "$3"; shift 3
  "$bin/mqbench" idle --server-pid "$pid" --duration 3 "${label[@]}" "$@" >> "$lines"
}
anonymous() { awk '/^RssAnon:/ {print $2}' "/proc/$pid/status"; }

# The files of new queues are made some seconds later, when their entries are first written.
await_queue_files() { # COUNT
  local tries files
  for ((tries = 0; tries < 120; tries++)); do
    files="$({ find "$store/consumequeue" -type f 2>/dev/null || true; } | wc -l)"
    [ "$files" -lt "$1" ] || return 0
    sleep 1
  done
  echo "only $files of $1 queues have a file: the rest are made within the rows" >&2
}

queues_rows() { # RUN
  local system count name
  name="$topics x $queues queues against 8"
  for system in base scaled; do
    if [ $system = base ]; then where=(--topic few --queues 8); count=8
    else where=(--topic many --topics "$topics" --queues "$queues"); count=$((topics * queues)); fi
    fresh
    local before; before="$(anonymous)"
    # Every queue is born before anything is counted.
    quiet produce --namesrv "$ns" "${where[@]}" --window 256 --count $((count * 2))
    await_queue_files "$count"
    run_row "produce, window 256; $name" $system "$1" produce "${where[@]}" --window 256 "${timed[@]}"
    run_row "produce, 64 senders; $name" $system "$1" produce "${where[@]}" --senders 64 "${timed[@]}"
    sleep 1
    idle_row "idle after it; $name" $system "$1" \
      --label "store_files=$(find "$store" -type f | wc -l)" \
      --label "store_mib=$(du -sm "$store/consumequeue" | cut -f1)" \
      --label "anon_kib_per_queue=$(awk "BEGIN {print ($(anonymous) - $before) / $count}")"
    run_row "drain; $name" $system "$1" consume "${where[@]}"
    stop KILL; start
    idle_row "start after kill -9; $name" $system "$1" --label "start_ms=$start_ms"
    stop TERM; start
    idle_row "start after a stop; $name" $system "$1" --label "start_ms=$start_ms"
  done
}

stored_rows() { # RUN
  local system name="$segments GiB in $sparse_queues queues against nothing"
  for system in base scaled; do
    no_store
    if [ $system = scaled ]; then
      "$bin/mqbench" sparse --store "$store" --segments "$segments" --queues "$sparse_queues" >> "$out/sparse.log"
      start
      # A store that was made elsewhere is read by RocketMQ's procedure once.
      idle_row "first start; $name" $system "$1" --label "start_ms=$start_ms"
      run_row "drain; $name" $system "$1" consume --topic sparse --queues "$sparse_queues"
    else
      start
      idle_row "first start; $name" $system "$1" --label "start_ms=$start_ms"
    fi
    stop TERM; start
    idle_row "start; $name" $system "$1" --label "start_ms=$start_ms"
  done
}

# The other consumer stands for one on another machine: it takes only the processor time that is left.
# What nobody has mapped is cold again when it is evicted: both readers begin anew until the row is over.
again() { # again COMMAND ARGS...
  while "$bin/mqbench" evict "$store/commitlog" > /dev/null && nice -n 10 "$@" > /dev/null 2>> "$out/errors.log"; do :; done
}
read_files() { local file; for file in "$store"/commitlog/*; do dd "if=$file" of=/dev/null bs=32k; done; }
beside() { # beside SYSTEM COMMAND ARGS...: the tail's row while the command runs
  local system="$1"; shift
  set -m; "$@" & drain_pid=$!; set +m
  run_row "$name" "$system" "$run" latency "${tail[@]}"
  kill -- "-$drain_pid" && wait "$drain_pid" 2>/dev/null || true
  drain_pid=
}
cool_down() { stop TERM; "$bin/mqbench" evict "$store/commitlog"; start; }
cold_rows() { # RUN
  local run="$1" name="tail at 1000/s beside a drain of $cold_mib MiB"
  fresh
  quiet produce --namesrv "$ns" --topic cold --queues 8 --body 1024 --batch 16 --window 16 --count $((cold_mib * 1024))
  local tail=(--topic tail --queues 8 --body 1024 --rate 1000 "${timed[@]}")
  quiet produce --namesrv "$ns" --topic tail --queues 8 --count 8
  run_row "drain of $cold_mib MiB, cold against in memory" base "$1" consume --topic cold --queues 8
  cool_down
  run_row "drain of $cold_mib MiB, cold against in memory" scaled "$1" consume --topic cold --queues 8
  cool_down
  run_row "$name" base "$1" latency "${tail[@]}"
  beside scaled again "$bin/mqbench" consume --namesrv "$ns" --topic cold --queues 8
  # What of that is the machine's: nobody reads old messages, but dd the same files.
  beside disk again bash -c "$(declare -f read_files); store=$store read_files"
}

for run in $(seq 1 "$runs"); do
  for part in queues stored cold; do
    [[ "$part" =~ $wanted ]] || continue
    "${part}_rows" "$run"
  done
done
"$bin/mqbench" table "$lines" --base base | tee "$out/table.md"
