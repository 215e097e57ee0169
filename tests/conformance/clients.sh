#!/usr/bin/env bash
# clients.sh [CLIENT...]: the kit's published clients against one NameServer and broker, the checks of
# ordinary.list only (ordinary messages, and those message kinds that are built). Fewer `ok` lines than listed, or any `not ok`, is a failure.
#   CLIENT  java-remoting-5.4.0, java-remoting-4.9.8, go-remoting (default: all three)
#   MODEL=2m-2s-sync   all brokers of that folder of config/ instead of a single one
#   SUT, SERVER, KIT: see lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java mvn go
need_server

clients=("$@")
[ ${#clients[@]} -gt 0 ] || clients=(java-remoting-5.4.0 java-remoting-4.9.8 go-remoting)

ns_port="$(free_port)"
start_namesrv "$SUT" "$WORK/ns" "$ns_port"
if [ -n "${MODEL:-}" ]; then
  start_model "$ROOT/config/$MODEL" "127.0.0.1:$ns_port"
else
  broker_conf "$WORK/broker.conf" "$(free_port)" "$WORK/broker/store" "${ALL_KINDS[@]}"
  start_broker "$SUT" "$WORK/broker" "$WORK/broker.conf" "127.0.0.1:$ns_port"
fi

for client in "${clients[@]}"; do
  program="${client%-[0-9]*}"; version="${client#"$program"}"; version="${version#-}"
  mapfile -t wanted < <(sed -n "s/^$program //p" "$HERE/ordinary.list")
  [ ${#wanted[@]} -gt 0 ] || die "ordinary.list has no checks of $program"
  if [ -n "${MODEL:-}" ] && [ "$(grep -LE '^brokerRole=SLAVE' "$ROOT/config/$MODEL"/broker* | wc -l)" -gt 1 ]; then
    # These count the queues of one master, or take the queue of an id at either of them.
    left_out='route_4_queues|client_createTopic|push_clustering_two.*|lite_pull_assign_seek_timestamp'
    mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | grep -vxE "$left_out")
  fi
  only="$(IFS='|'; echo "${wanted[*]}")"
  say "$client on $SUT: ${#wanted[@]} checks"
  out="$WORK/$client.out"; code=0
  kit_client "$program" "$out" NAMESRV_ADDR="127.0.0.1:$ns_port" CLIENT_VERSION="${version:-5.4.0}" ONLY="($only)" \
    PARALLEL="${PARALLEL:-6}" GO_CLIENT_VERSION= || code=$?
  seen=0
  for check in "${wanted[@]}"; do
    line="$(grep -E "^(ok|not ok|skip) $check( |\$)" "$out" | tail -1 || true)"
    case "$line" in
      "ok "*) seen=$((seen + 1)); ok "$client ${line#ok }";;
      # Clients before 5.0 know neither pop nor recall.
      "skip "*) if [[ "$version" == 4.* ]]; then seen=$((seen + 1)); echo "skip $client ${line#skip }"
        else not_ok "$client $line"; fi;;
      "") not_ok "$client $check # did not run";;
      *) not_ok "$client ${line#not ok }";;
    esac
  done
  # A `not ok` of a check that is not listed, or a bad exit with all listed checks ok, is a failure too.
  [ "$code" = 0 ] || [ "$seen" != ${#wanted[@]} ] || not_ok "$client exited with $code"
  echo "$client: $seen of ${#wanted[@]} listed checks passed"
  [ "$seen" = ${#wanted[@]} ] || { echo "--- last lines of $client"; tail -25 "$out"; } >&2
done
finish
