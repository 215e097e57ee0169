#!/usr/bin/env bash
# grpc.sh [PROGRAM...]: the kit's gRPC clients by way of RocketMQ's own proxy in cluster mode, in front of a NameServer and
# a broker: what the proxy asks of a broker it gets. A check that is missing or fails is a failure.
#   PROGRAM  java-grpc, go-grpc, node-grpc, rust-grpc (default: those that this machine can run), python-grpc.
#            That client may receive before its first heartbeat; the proxy has dropped its settings then
#            (GrpcClientSettingsManager) and answers one or two checks with '"settings" is null', on a Java broker, too.
#   SUT, SERVER, KIT: see lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java mvn
need_server

# The checks that pass on RocketMQ (the kit's README), and what runs them.
declare -A checks=([java-grpc]=13 [go-grpc]=11 [node-grpc]=11 [python-grpc]=11 [rust-grpc]=9)
declare -A tool=([java-grpc]=mvn [go-grpc]=go [node-grpc]=node [python-grpc]=python3 [rust-grpc]=cargo)
programs=("$@")
if [ ${#programs[@]} = 0 ]; then
  for program in java-grpc go-grpc node-grpc rust-grpc; do
    if command -v "${tool[$program]}" >/dev/null; then programs+=("$program"); else say "SKIPPED $program: no ${tool[$program]}"; fi
  done
fi

# start_proxy DIR NAMESRV: sets grpc_port.
start_proxy() {
  local dir="$1" ns="$2" pid; mkdir -p "$dir"
  grpc_port="$(free_port)"
  printf '{"rocketMQClusterName":"DefaultCluster","proxyMode":"CLUSTER","grpcServerPort":%s,"remotingListenPort":%s}\n' \
    "$grpc_port" "$(free_port)" > "$dir/proxy.json"
  ROCKETMQ_HOME="$KIT/rocketmq" java -Xms512m -Xmx512m -XX:MaxDirectMemorySize=512m -Duser.home="$dir" \
    -cp "$KIT_CLASSPATH" \
    org.apache.rocketmq.proxy.ProxyStartup -pm cluster -pc "$dir/proxy.json" -n "$ns" >"$dir/proxy.out" 2>&1 </dev/null &
  pid=$!; disown "$pid"; PIDS+=("$pid")
  wait_until "$START_TIMEOUT" grep -qF "startup successfully" "$dir/proxy.out" || die "proxy: $(tail -5 "$dir/proxy.out")"
}

ns_port="$(free_port)"
start_namesrv "$SUT" "$WORK/ns" "$ns_port"
broker_conf "$WORK/broker.conf" "$(free_port)" "$WORK/broker/store" "${ALL_KINDS[@]}"
start_broker "$SUT" "$WORK/broker" "$WORK/broker.conf" "127.0.0.1:$ns_port"
start_proxy "$WORK/proxy" "127.0.0.1:$ns_port"

for program in "${programs[@]}"; do
  wanted="${checks[$program]:-}"; [ -n "$wanted" ] || die "no such program: $program"
  say "$program on $SUT: $wanted checks"
  out="$WORK/$program.out"; code=0
  kit_client "$program" "$out" NAMESRV_ADDR="127.0.0.1:$ns_port" GRPC_ENDPOINT="127.0.0.1:$grpc_port" || code=$?
  checks_of "$program" "$out" "$wanted" "$code"
done
finish
