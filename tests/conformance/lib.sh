# Sourced by the conformance scripts: finds the kit, starts and stops NameServers and brokers (ours or
# Java's) on free ports under one temporary folder, and ends them all on exit.
#
# Environment:
#   KIT           the kit's folder (default: ../shared/kit beside the repository)
#   SERVER        folder with our binaries namesrv and broker (default: target/release, else target/debug)
#   SUT           the broker under test: callboard (default) or java
#   KEEP=1        keep the temporary folder
#   BROKER_HEAP, BROKER_DIRECT, NS_HEAP   the Java servers' memory (small by default)
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
ROOT="$(cd "$HERE/../.." && pwd)"
KIT="${KIT:-$ROOT/../shared/kit}"
SUT="${SUT:-callboard}"
export BROKER_HEAP="${BROKER_HEAP:-512m}" BROKER_DIRECT="${BROKER_DIRECT:-512m}" NS_HEAP="${NS_HEAP:-128m}"
# The kit's broker runs G1 with default flags; on a busy two-core machine its first start takes a while.
export START_TIMEOUT="${START_TIMEOUT:-180}"

# RocketMQ's jars, once need_kit has fetched them.
KIT_CLASSPATH="$KIT/rocketmq/conf:${KIT_CACHE:-$HOME/.cache/callboard-kit}/rocketmq/lib/*"

target="${CARGO_TARGET_DIR:-$ROOT/target}"
if [ -z "${SERVER:-}" ]; then
  if [ -x "$target/release/broker" ]; then SERVER="$target/release"; else SERVER="$target/debug"; fi
fi

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { say "$*"; exit 1; }

# Ends with success and a plain last line: a machine without Java, Maven or Go can't run the kit.
not_run() { echo "$*" >&2; echo "CONFORMANCE NOT RUN"; exit 0; }

# need_kit TOOL...: the kit's folder and these programs, or CONFORMANCE NOT RUN.
need_kit() {
  [ -d "$KIT/rocketmq" ] && [ -d "$KIT/clients" ] || not_run "no kit at $KIT (set KIT)"
  local tool
  for tool in flock "$@"; do command -v "$tool" >/dev/null 2>&1 || not_run "no $tool on this machine"; done
  # Scripts that run at a time would take the jars away from each other.
  flock "${TMPDIR:-/tmp}/callboard-kit-$UID" "$KIT/rocketmq/fetch.sh" >&2 || die "the kit's jars cannot be resolved"
}

need_server() {
  [ "$SUT" = java ] || { [ -x "$SERVER/broker" ] && [ -x "$SERVER/namesrv" ]; } ||
    die "no broker and namesrv in $SERVER: build first (cargo build --release) or set SERVER"
}

WORK="$(mktemp -d "${TMPDIR:-/tmp}/callboard-conformance.XXXXXX")"
PORTS="${TMPDIR:-/tmp}/callboard-ports-$UID"
PIDS=()   # every server started here and not yet stopped

cleanup() {
  local code=$? pid
  trap - EXIT
  for pid in ${PIDS[@]+"${PIDS[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
  { grep -lx $$ "$PORTS"/* 2>/dev/null || true; } | xargs -r rm -f
  if [ -n "${KEEP:-}" ] || { [ "$code" != 0 ] && [ -n "${KEEP_FAILED:-}" ]; }; then
    say "kept $WORK"
  else
    rm -rf "$WORK"
  fi
  exit "$code"
}
trap cleanup EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM

forget_pid() {
  local left=() pid
  for pid in ${PIDS[@]+"${PIDS[@]}"}; do [ "$pid" = "$1" ] || left+=("$pid"); done
  PIDS=(${left[@]+"${left[@]}"})
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: a port with port-2 .. port+2 free too (fast port, HA port and debug port live there), and the
# script's own from now on: several may run at a time.
# Below the kernel's ephemeral range, so that no outgoing connection takes it meanwhile.
free_port() {
  local port offset ok
  mkdir -p "$PORTS"
  while :; do
    port=$((10000 + (RANDOM * 32768 + RANDOM) % 2200 * 10 + 5)); ok=1
    for offset in -2 -1 0 1 2; do port_is_free $((port + offset)) || { ok=; break; }; done
    [ -z "$ok" ] || ! reserve "$port" || { echo "$port"; return; }
  done
}

# A reservation is a file with the script's process id, and void once that process is gone.
reserve() {
  local holder
  (set -C; echo $$ > "$PORTS/$1") 2>/dev/null && return
  holder="$(cat "$PORTS/$1" 2>/dev/null)"
  [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null && rm -f "$PORTS/$1"
  return 1
}

# wait_until SECONDS COMMAND...: polls; a deadline, not a pause.
wait_until() {
  local end=$(($(date +%s) + $1)); shift
  until "$@"; do [ "$(date +%s)" -lt "$end" ] || return 1; sleep 0.05; done
}

port_answers() { ! port_is_free "$1"; }

# What brokers need for the checks of all kinds of messages; check-backs come sooner.
ALL_KINDS=(transactionTimeOut=6000 transactionCheckInterval=3000 enablePropertyFilter=true recallMessageEnable=true)

# broker_conf FILE PORT STORE [key=value...]: a broker.conf that both brokers take.
broker_conf() {
  local file="$1" port="$2" store="$3"; shift 3
  {
    cat <<CONF
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
brokerIP1=127.0.0.1
listenPort=$port
deleteWhen=04
fileReservedTime=48
brokerRole=ASYNC_MASTER
flushDiskType=ASYNC_FLUSH
autoCreateTopicEnable=true
brokerFastFailureEnable=false
recallMessageEnable=true
CONF
    local line; for line in "$@"; do printf '%s\n' "$line"; done
    echo "storePathRootDir=$store"
    echo "storePathCommitLog=$store/commitlog"
  } > "$file"
}

# start_namesrv java|callboard DIR PORT
start_namesrv() {
  local sut="$1" dir="$2" port="$3" pid; mkdir -p "$dir"
  if [ "$sut" = java ]; then
    NS_PORT="$port" "$KIT/rocketmq/namesrv.sh" start "$dir" >&2 || die "namesrv: $(tail -5 "$dir/namesrv.out")"
    PIDS+=("$(cat "$dir/namesrv.pid")")
    return
  fi
  printf 'listenPort=%s\nkvConfigPath=%s/kvConfig.json\nconfigStorePath=%s/namesrv.properties\n' \
    "$port" "$dir" "$dir" > "$dir/namesrv.conf"
  (cd "$dir" && exec env HOME="$dir" "$SERVER/namesrv" -c "$dir/namesrv.conf") >"$dir/namesrv.out" 2>&1 </dev/null &
  pid=$!; disown "$pid"; PIDS+=("$pid"); echo "$pid" > "$dir/namesrv.pid"
  wait_until 30 port_answers "$port" || die "namesrv: $(tail -5 "$dir/namesrv.out")"
}

has_booted() { grep -qF "boot success" "$1" 2>/dev/null || ! kill -0 "$2" 2>/dev/null; }

# try_broker java|callboard DIR CONF NAMESRV: starts; fails when the broker ends before it is ready.
# CONF's store is DIR/store: the kit's script insists on that place.
try_broker() {
  local sut="$1" dir="$2" conf="$3" ns="$4" pid; mkdir -p "$dir"
  if [ "$sut" = java ]; then
    if ! NAMESRV_ADDR="$ns" "$KIT/rocketmq/broker.sh" start "$conf" "$dir" >&2; then
      kill -KILL "$(cat "$dir/broker.pid" 2>/dev/null)" 2>/dev/null || true
      return 1
    fi
    PIDS+=("$(cat "$dir/broker.pid")")
    return
  fi
  (cd "$dir" && exec env HOME="$dir" "$SERVER/broker" -c "$conf" -n "$ns") >"$dir/broker.out" 2>&1 </dev/null &
  pid=$!; disown "$pid"; PIDS+=("$pid"); echo "$pid" > "$dir/broker.pid"
  wait_until 60 has_booted "$dir/broker.out" "$pid" || return 1
  kill -0 "$pid" 2>/dev/null || { forget_pid "$pid"; return 1; }
}

start_broker() { try_broker "$@" || die "broker did not start: $(tail -20 "$2/broker.out")"; }

# start_model FOLDER NAMESRV: every broker of a folder of config/, masters first, on free ports with stores in
# WORK. Waits until each slave is connected.
start_model() {
  local folder="$1" ns="$2" file name port
  [ -d "$folder" ] || die "no such model: $folder"
  for file in $(grep -LE '^brokerRole=SLAVE' "$folder"/broker*) $(grep -lE '^brokerRole=SLAVE' "$folder"/broker*); do
    name="$(basename "$file" .properties)"; port="$(free_port)"
    mkdir -p "$WORK/$name"
    {
      grep -vE '^(listenPort|haListenPort|debugListenAddr|namesrvAddr|storePathRootDir|storePathCommitLog)=' "$file"
      printf '%s\n' "listenPort=$port" brokerIP1=127.0.0.1 brokerIP2=127.0.0.1 brokerFastFailureEnable=false "${ALL_KINDS[@]}" \
        "storePathRootDir=$WORK/$name/store" "storePathCommitLog=$WORK/$name/store/commitlog"
    } > "$WORK/$name.conf"
    start_broker "$SUT" "$WORK/$name" "$WORK/$name.conf" "$ns"
    say "$name on 127.0.0.1:$port"
  done
  sleep "${MODEL_SETTLE:-3}"   # a Java slave reports five seconds after it connected, ours at once
}

# stop_server PIDFILE [SIGNAL]: ends exactly that process and waits; KILL for a crash.
stop_server() {
  local pid; pid="$(cat "$1")"
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  if ! wait_until 60 server_gone "$pid"; then
    kill -KILL "$pid" 2>/dev/null || true; die "pid $pid did not end within 60 s of ${2:-TERM}"
  fi
  forget_pid "$pid"; rm -f "$1"
}

# Gone is also a zombie that nobody has reaped yet, but only once its other threads have ended: until then
# a killed JVM keeps its files open, and the lock of the store with them.
server_gone() {
  local state tasks=("/proc/$1/task/"*)
  state="$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true)"
  [ -z "$state" ] || { [ "$state" = Z ] && [ ${#tasks[@]} -le 1 ]; }
}

# kit_client PROGRAM OUT [NAME=VALUE...]: one of the kit's client programs with these variables; what it prints goes to
# OUT, without mqadmin's colour resets, which come before the first line. Its exit code.
kit_client() {
  local program="$1" out="$2" code=0; shift 2
  env "$@" timeout -k 10 "${CLIENT_TIMEOUT:-900}" "$KIT/clients/run" "$program" >"$out" 2>&1 || code=$?
  sed -i 's/\x1b\[[0-9;]*m//g' "$out"
  return "$code"
}

# compile_java: the programs of java/, on the published client; then `keyed VERB...`
# runs Keyed against $ns, and `java_program NAME ARGS...` another one.
compile_java() {
  mkdir -p "$WORK/classes"
  CLASSPATH_ALL="$WORK/classes:$KIT_CLASSPATH"
  javac -nowarn -cp "$CLASSPATH_ALL" -d "$WORK/classes" "$HERE"/java/*.java >"$WORK/javac.out" 2>&1 ||
    { cat "$WORK/javac.out"; die "javac failed"; }
}

keyed() { java_program Keyed "$@"; }

java_program() {
  NAMESRV_ADDR="$ns" timeout -k 5 300 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Duser.home="$WORK" -Drocketmq.client.logRoot="$WORK/clientlogs" \
    -Drmq.logback.configurationFile="$KIT/rocketmq/conf/quiet.logback.xml" \
    -cp "$CLASSPATH_ALL" "$@" 2>&1 | sed '/SLF4J/d; s/^/    /'
}

# who SIDE: which program plays "ours" or "java" in a scenario's name.
who() { if [ "$1" = java ]; then echo java; else echo "$SUT"; fi; }

# want NAME: whether SCENARIOS, a regex, picks this one; without it all are.
want() { [[ "$1" =~ ^(${SCENARIOS:-.*})$ ]]; }

PASSED=0 FAILED=0
ok() { PASSED=$((PASSED + 1)); echo "ok $*"; }
not_ok() { FAILED=$((FAILED + 1)); echo "not ok $*"; }
# checks_of NAME OUT WANTED CODE: counts the `ok` and `not ok` lines that a program wrote to OUT; a check that is missing is a
# failure, and so is a CODE other than 0.
checks_of() {
  local name="$1" out="$2" wanted="$3" code="$4" seen=0 line
  while read -r line; do
    case "$line" in
      "ok "*) seen=$((seen + 1)); ok "$name ${line#ok }";;
      *) not_ok "$name ${line#not ok }";;
    esac
  done < <(grep -E '^(ok|not ok) ' "$out" || true)
  [ "$code" = 0 ] && [ "$seen" = "$wanted" ] || {
    not_ok "$name: $seen of $wanted checks passed, exit $code"; tail -25 "$out" >&2
  }
}
# finish: the summary line; fails when anything failed or nothing ran.
finish() { echo "$PASSED passed, $FAILED failed"; [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]; }
