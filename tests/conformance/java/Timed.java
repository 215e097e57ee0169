import java.io.FileWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Timed messages on the published Java client: what takeover_timed.sh sends, and how it proves that all of
 * them were delivered, none early and none that was called back.
 *
 * <pre>
 *   send    TOPIC FROM TO AHEAD_S LEDGER   for random times within AHEAD_S; every tenth is called back;
 *                                          appends "n deliverMs kept|recalled"
 *   account TOPIC LEDGER SECONDS DUPS_MAX  waits until every kept one is there; counts those that are twice
 * </pre>
 * NAMESRV_ADDR names the NameServer. Ends with 1 and a reason on the first difference.
 */
public class Timed {
  public static void main(String[] a) { Verbs.run(a, Timed::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "send": send(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), Integer.parseInt(a[4]), a[5]); break;
      case "account": account(a[1], a[2], Integer.parseInt(a[3]), Integer.parseInt(a[4])); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static void send(String topic, int from, int to, int aheadSeconds, String ledger) throws Exception {
    DefaultMQProducer producer = new DefaultMQProducer("timed_producer");
    producer.setNamesrvAddr(Verbs.NS);
    producer.start();
    routed(producer, topic);
    Random random = new Random(from);
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger, true))) {
      for (int n = from; n < to; n++) {
        boolean recalled = n % 10 == 9;
        // What is called back needs some time for it.
        long at = System.currentTimeMillis() + (recalled ? 5000 : 500) + random.nextInt(aheadSeconds * 1000);
        Message message = new Message(topic, ("timed " + n).getBytes(StandardCharsets.UTF_8));
        message.setDeliverTimeMs(at);
        SendResult sent = producer.send(message);
        Verbs.check(sent.getSendStatus() == SendStatus.SEND_OK, n + ": " + sent);
        if (recalled) producer.recallMessage(topic, sent.getRecallHandle());
        out.println(n + " " + at + " " + (recalled ? "recalled" : "kept"));
      }
    }
    System.out.println("sent " + from + ".." + to);
  }

  /** A broker that was killed and started anew is known to the NameServer a moment after it booted. */
  static void routed(DefaultMQProducer producer, String topic) throws Exception {
    for (int tries = 0; ; tries++) {
      try {
        producer.fetchPublishMessageQueues(topic);
        return;
      } catch (Exception e) {
        if (tries == 60) throw e;
        Thread.sleep(500);
      }
    }
  }

  static void account(String topic, String ledger, int seconds, int dupsMax) throws Exception {
    Map<Integer, Long> kept = new TreeMap<>();
    TreeSet<Integer> recalled = new TreeSet<>();
    for (String line : Files.readAllLines(Paths.get(ledger))) {
      String[] word = line.split(" ");
      int n = Integer.parseInt(word[0]);
      if (word[2].equals("kept")) kept.put(n, Long.parseLong(word[1])); else recalled.add(n);
    }
    DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("takeover_group");
    consumer.setNamesrvAddr(Verbs.NS);
    consumer.start();
    long deadline = System.currentTimeMillis() + seconds * 1000L;
    while (true) {
      Map<Integer, Integer> times = new TreeMap<>();
      for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
        for (long offset = 0; ; ) {
          PullResult result = consumer.pull(queue, "*", offset, 32);
          if (result.getPullStatus() != PullStatus.FOUND) break;
          for (MessageExt message : result.getMsgFoundList()) {
            int n = Integer.parseInt(new String(message.getBody(), StandardCharsets.UTF_8).split(" ")[1]);
            Verbs.check(!recalled.contains(n), n + " was called back and is delivered");
            Long at = kept.get(n);
            Verbs.check(at != null, n + " was never sent");
            Verbs.check(message.getStoreTimestamp() >= at, n + " is " + (at - message.getStoreTimestamp()) + " ms early");
            times.merge(n, 1, Integer::sum);
          }
          offset = result.getNextBeginOffset();
        }
      }
      long twice = times.values().stream().filter(count -> count > 1).count();
      if (times.size() == kept.size()) {
        System.out.println(kept.size() + " delivered, none early, " + recalled.size() + " called back, " + twice + " twice");
        Verbs.check(twice <= dupsMax, twice + " were delivered twice");
        return;
      }
      Verbs.check(System.currentTimeMillis() < deadline, times.size() + " of " + kept.size() + " are delivered");
      Thread.sleep(1000);
    }
  }
}
