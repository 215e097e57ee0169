#!/usr/bin/env bash
# cpp.sh: RocketMQ's C++ client (remoting; the PyPI package rocketmq brings it) against a NameServer and a broker.
# A check that is missing or fails is a failure; with no Python, or where the package cannot be had: CONFORMANCE NOT RUN.
#   SUT, SERVER, KIT: see lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "$SUT" != java ] || need_kit java mvn
need_server

command -v python3 >/dev/null 2>&1 || not_run "no python3 on this machine"
python3 -m venv "$WORK/venv" >&2 && "$WORK/venv/bin/pip" install -q rocketmq==0.4.4 >&2 ||
  not_run "the package rocketmq 0.4.4 cannot be installed"

ns_port="$(free_port)"
start_namesrv "$SUT" "$WORK/ns" "$ns_port"
broker_conf "$WORK/broker.conf" "$(free_port)" "$WORK/broker/store"
start_broker "$SUT" "$WORK/broker" "$WORK/broker.conf" "127.0.0.1:$ns_port"

out="$WORK/cpp.out"; code=0
HOME="$WORK" timeout -k 10 400 "$WORK/venv/bin/python" "$HERE/cpp/ordinary.py" "127.0.0.1:$ns_port" CppOrdinary \
  >"$out" 2>"$WORK/cpp.err" || code=$?
cat "$WORK/cpp.err" >> "$out"   # apart until now: a line of one must not begin within a line of the other
checks_of cpp "$out" 16 "$code"
finish
