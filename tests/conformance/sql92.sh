#!/usr/bin/env bash
# sql92.sh [SEED COUNT]: has RocketMQ's own filter answer tests/sql92/expressions.txt and COUNT random
# expressions for the messages of tests/sql92/messages.txt, and writes tests/sql92/answers.txt and, of its
# bloom filters, bloom.txt; `cargo test --test sql92` compares both with ours. The committed file is of seed 92 and 3000 expressions.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_kit java mvn
compile_java
java -Xmx256m -XX:+UseSerialGC -cp "$CLASSPATH_ALL" SqlAnswers "$ROOT/tests/sql92" "${1:-92}" "${2:-3000}" \
  >"$WORK/answers.txt"
java -Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8 -cp "$CLASSPATH_ALL" SqlAnswers bloom >"$WORK/bloom.txt"
mv "$WORK/bloom.txt" "$ROOT/tests/sql92/bloom.txt"
mv "$WORK/answers.txt" "$ROOT/tests/sql92/answers.txt"
wc -l <"$ROOT/tests/sql92/answers.txt"
