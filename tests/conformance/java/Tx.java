import java.io.FileWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Transactions on the published Java client: what the takeover of their store is checked with. Their bodies
 * tell how they end: "commit N", "rollback N", "silent-commit N" and "silent-rollback N", of which the silent
 * ones say nothing until they are asked by "settle".
 *
 * <pre>
 *   send   TOPIC PGROUP FROM TO LEDGER   appends each acknowledged body; answers "unknown" when asked
 *   settle TOPIC PGROUP LEDGER           answers; every commit comes, no rollback does; prints what came twice
 * </pre>
 * NAMESRV_ADDR names the NameServer. Ends with 1 and a reason on the first difference.
 */
public class Tx {
  static final String[] KINDS = {"commit", "rollback", "silent-commit", "silent-rollback"};

  public static void main(String[] a) { Verbs.run(a, Tx::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "send": send(a[1], a[2], Integer.parseInt(a[3]), Integer.parseInt(a[4]), a[5]); break;
      case "settle": settle(a[1], a[2], a[3]); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static String text(Message m) { return new String(m.getBody(), StandardCharsets.UTF_8); }

  static boolean commits(String body) { return body.startsWith("commit") || body.startsWith("silent-commit"); }

  static LocalTransactionState end(String body) {
    return commits(body) ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
  }

  /** When a question came last, ms. */
  static final AtomicLong asked = new AtomicLong(System.currentTimeMillis());
  static final AtomicLong questions = new AtomicLong();

  static TransactionMQProducer producer(String group, boolean answers) throws Exception {
    TransactionMQProducer p = new TransactionMQProducer(group);
    p.setNamesrvAddr(Verbs.NS);
    p.setSendMsgTimeout(10_000);
    p.setHeartbeatBrokerInterval(1_000);
    p.setTransactionListener(new TransactionListener() {
      public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
        return text(m).startsWith("silent") ? LocalTransactionState.UNKNOW : end(text(m));
      }
      public LocalTransactionState checkLocalTransaction(MessageExt m) {
        asked.set(System.currentTimeMillis());
        questions.incrementAndGet();
        return answers ? end(text(m)) : LocalTransactionState.UNKNOW;
      }
    });
    p.start();
    return p;
  }

  static void send(String topic, String group, int from, int to, String ledger) throws Exception {
    TransactionMQProducer p = producer(group, false);
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger, true), true)) {
      for (int n = from; n < to; n++) {
        String body = KINDS[n % KINDS.length] + " " + n;
        Message m = new Message(topic, "T", "key-" + n, body.getBytes(StandardCharsets.UTF_8));
        Verbs.check(Keyed.eventually(body, () -> p.sendMessageInTransaction(m, null)).getSendStatus() == SendStatus.SEND_OK, body);
        out.println(body);
      }
    }
    // So long that some are asked about and put to the end of the queue.
    for (long end = System.currentTimeMillis() + 30_000; questions.get() == 0; Thread.sleep(50)) {
      Verbs.check(System.currentTimeMillis() < end, "nobody was asked");
    }
    Thread.sleep(1_500);
    System.out.println("sent " + (to - from) + ", asked " + questions.get() + " times");
  }

  static void settle(String topic, String group, String ledger) throws Exception {
    List<String> sent = Files.readAllLines(Paths.get(ledger));
    TransactionMQProducer p = producer(group, true);
    // Until it has sent something a producer tells no broker of itself.
    Message m = new Message(topic, "T", "rollback settle".getBytes(StandardCharsets.UTF_8));
    Keyed.eventually("a send", () -> p.sendMessageInTransaction(m, null));
    DefaultMQPullConsumer c = Keyed.puller("tx_reader");
    Map<String, Integer> got = new TreeMap<>();
    // Ready when all are there and nobody has been asked for a while.
    for (long end = System.currentTimeMillis() + 60_000; ; Thread.sleep(200)) {
      got = read(c, Keyed.queues(p, topic));
      boolean all = got.keySet().containsAll(sent.stream().filter(Tx::commits).toList());
      if (all && System.currentTimeMillis() - asked.get() > 5_000) break;
      if (System.currentTimeMillis() > end) {
        for (String body : sent) Verbs.check(!commits(body) || got.containsKey(body), "committed and lost: " + body);
        throw new AssertionError("still asking");
      }
    }
    for (String body : got.keySet()) Verbs.check(commits(body), "rolled back and delivered: " + body);
    got.forEach((body, n) -> { if (n > 1) System.out.println("  came " + n + " times: " + body); });
    int twice = got.values().stream().mapToInt(n -> n - 1).sum();
    System.out.println(sent.size() + " transactions, " + got.size() + " delivered, " + twice + " twice, asked " + questions.get() + " times");
  }

  static Map<String, Integer> read(DefaultMQPullConsumer c, List<MessageQueue> queues) throws Exception {
    Map<String, Integer> got = new TreeMap<>();
    for (MessageQueue q : queues) {
      for (long offset = 0; ; ) {
        PullResult r = c.pull(q, "*", offset, 32);
        if (r.getPullStatus() != PullStatus.FOUND) break;
        for (MessageExt m : r.getMsgFoundList()) got.merge(text(m), 1, Integer::sum);
        offset = r.getNextBeginOffset();
      }
    }
    return got;
  }
}
