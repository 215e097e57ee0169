import java.io.FileWriter;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Batches to a topic with queue.type=BatchCQ on the published Java client: what batches.sh sends, and how it
 * proves that a broker has all of it.
 *
 * <pre>
 *   setup   TOPIC GROUP QUEUES BROKER_ADDR   makes topic and group, waits for the route
 *   send    TOPIC FROM TO LEDGER             batches of 1 to 40 and single messages; appends "n queue queueOffset id"
 *   auto    TOPIC FROM TO LEDGER             from eight threads through a producer with autoBatch; appends "n - - -"
 *   verify  TOPIC LEDGER                    every message by pull (content, place), from any offset, batches by their id
 *   tags    TOPIC TAG LEDGER                 what a pull with that tag gives: single messages and batches that have it
 *   push    TOPIC GROUP COUNT CONSUMED       a push consumer until it has so many messages; appends their numbers
 *   retry   TOPIC GROUP COUNT CONSUMED       the same; every 50th message fails at first and comes back
 *   progress TOPIC GROUP                     what the admin client says of offsets
 *   account LEDGER CONSUMED                  every sent number was consumed, none twice
 * </pre>
 */
public class Batches {
  public static void main(String[] a) { Verbs.run(a, Batches::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "setup": setup(a[1], a[2], Integer.parseInt(a[3]), a[4]); break;
      case "send": send(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), a[4]); break;
      case "auto": auto(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), a[4]); break;
      case "verify": verify(a[1], a[2]); break;
      case "tags": tags(a[1], a[2], a[3]); break;
      case "push": push(a[1], a[2], Integer.parseInt(a[3]), a[4], false); break;
      case "retry": push(a[1], a[2], Integer.parseInt(a[3]), a[4], true); break;
      case "progress": progress(a[1], a[2]); break;
      case "account": account(a[1], a[2]); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static void setup(String topic, String group, int queues, String broker) throws Exception {
    Keyed.setup(topic, group, queues, broker, Map.of("+queue.type", "BatchCQ"));
    TopicConfig made = Verbs.admin().examineTopicConfig(broker, topic);
    Verbs.check("BatchCQ".equals(made.getAttributes().get("queue.type")), "attributes " + made.getAttributes());
  }

  static Message message(String topic, int n) {
    StringBuilder s = new StringBuilder("body of ").append(n).append(n % 7 == 0 ? " größer ✓ " : " ");
    while (s.length() < n * 37 % 300) s.append(n).append('.');
    Message m = new Message(topic, tag(n), "key-" + n, s.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8));
    m.putUserProperty("number", Integer.toString(n));
    return m;
  }

  static String tag(int n) { return n % 3 == 0 ? "TagA" : "TagB"; }

  static final int[] SIZES = {1, 2, 40, 3, 0, 13, 5, 0, 8};

  /** Round-robin over the queues; 0 in SIZES is a message that is no batch. */
  static void send(String topic, int from, int to, String ledger) throws Exception {
    DefaultMQProducer p = Keyed.producer("batch_sender");
    List<MessageQueue> queues = Keyed.queues(p, topic);
    int turn = 0;
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger, true))) {
      for (int n = from; n < to; turn++) {
        MessageQueue queue = queues.get(turn % queues.size());
        int size = Math.min(SIZES[turn % SIZES.length], to - n);
        SendResult r;
        if (size == 0) {
          r = p.send(message(topic, n), queue);
        } else {
          List<Message> batch = new ArrayList<>();
          for (int i = n; i < n + size; i++) batch.add(message(topic, i));
          r = p.send(batch, queue);
        }
        Verbs.check(r.getSendStatus() == SendStatus.SEND_OK, n + " was answered " + r.getSendStatus());
        Verbs.check(!r.getMsgId().contains(","), n + ": a batch has one id, got " + r.getMsgId());
        Verbs.check(!r.getOffsetMsgId().contains(","), n + ": a batch has one place, got " + r.getOffsetMsgId());
        for (int i = 0; i < Math.max(1, size); i++) {
          out.println((n + i) + " " + r.getMessageQueue().getQueueId() + " " + (r.getQueueOffset() + i) + " "
              + (size == 0 ? "-" : r.getMsgId() + "/" + size));
        }
        n += Math.max(1, size);
      }
    }
    System.out.println("sent " + (to - from) + " in " + turn);
  }

  static void auto(String topic, int from, int to, String ledger) throws Exception {
    DefaultMQProducer p = new DefaultMQProducer("auto_sender");
    p.setNamesrvAddr(Verbs.NS);
    p.setAutoBatch(true);
    p.start();
    Keyed.queues(p, topic);
    ExecutorService pool = Executors.newFixedThreadPool(8);
    List<Future<SendResult>> results = new ArrayList<>();
    for (int n = from; n < to; n++) {
      Message m = message(topic, n);
      results.add(pool.submit(() -> p.send(m)));
    }
    Set<String> batches = new TreeSet<>();
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger, true))) {
      for (int n = from; n < to; n++) {
        SendResult r = results.get(n - from).get();
        Verbs.check(r.getSendStatus() == SendStatus.SEND_OK, n + " was answered " + r.getSendStatus());
        batches.add(r.getMessageQueue().getQueueId() + "/" + r.getQueueOffset());
        out.println(n + " - - -");
      }
    }
    System.out.println("sent " + (to - from) + " in " + batches.size() + " batches of the client's own");
  }

  static void compare(MessageExt got, String how) {
    int n = Integer.parseInt(got.getUserProperty("number"));
    Message sent = message(got.getTopic(), n);
    Verbs.check(java.util.Arrays.equals(sent.getBody(), got.getBody()), n + " by " + how + ": body differs");
    Verbs.check(sent.getKeys().equals(got.getKeys()), n + " by " + how + ": keys " + got.getKeys());
    Verbs.check(sent.getTags().equals(got.getTags()), n + " by " + how + ": tags " + got.getTags());
  }

  static PullResult pull(DefaultMQPullConsumer c, MessageQueue q, String tags, long from) throws Exception {
    return Keyed.eventually("pull at " + from, () -> {
      PullResult x = c.pull(q, tags, from, 32, 10_000);
      return x.getPullStatus() == PullStatus.FOUND || x.getPullStatus() == PullStatus.NO_MATCHED_MSG ? x : null;
    });
  }

  static void verify(String topic, String ledger) throws Exception {
    DefaultMQProducer p = Keyed.producer("batch_verifier");
    DefaultMQPullConsumer c = Keyed.puller("batch_verifier_c");
    Map<String, String> places = new HashMap<>();
    Map<String, Integer> ids = new HashMap<>();
    Set<Integer> missing = new TreeSet<>();
    for (String[] line : Keyed.lines(ledger)) {
      missing.add(Integer.parseInt(line[0]));
      if (!line[1].equals("-")) places.put(line[1] + "/" + line[2], line[0]);
      if (line[3].contains("/")) ids.put(line[3].split("/")[0], Integer.parseInt(line[3].split("/")[1]));
    }
    int sent = missing.size(), placed = 0, fromWithin = 0;
    for (MessageQueue q : Keyed.queues(p, topic)) {
      long max = Keyed.eventually("maximum offset", () -> c.maxOffset(q));
      Verbs.check(c.minOffset(q) == 0, "minimum offset of " + q + " is " + c.minOffset(q));
      Map<Long, String> numbers = new HashMap<>();
      for (long offset = 0; offset < max; ) {
        PullResult r = pull(c, q, "*", offset);
        for (MessageExt m : r.getMsgFoundList()) {
          Verbs.check(m.getQueueOffset() == offset, q + " at " + offset + " gives " + m.getQueueOffset());
          Verbs.check(m.getQueueId() == q.getQueueId(), q + " gives queue " + m.getQueueId());
          compare(m, "pull");
          String number = m.getUserProperty("number"), told = places.get(q.getQueueId() + "/" + offset);
          Verbs.check(told == null || told.equals(number), q + " at " + offset + ": " + number + ", told " + told);
          if (told != null) placed++;
          Verbs.check(missing.remove(Integer.parseInt(number)), number + " comes twice, or was never acknowledged");
          numbers.put(offset++, number);
        }
        Verbs.check(r.getNextBeginOffset() == offset, q + " goes on at " + r.getNextBeginOffset() + " behind " + offset);
      }
      // From within a batch its first messages come again.
      for (long from = 0; from < max; from += 1 + from % 3) {
        PullResult r = pull(c, q, "*", from);
        MessageExt first = r.getMsgFoundList().get(0);
        Verbs.check(first.getQueueOffset() <= from && r.getNextBeginOffset() > from, q + " from " + from + ": " + first.getQueueOffset());
        for (MessageExt m : r.getMsgFoundList()) {
          Verbs.check(m.getUserProperty("number").equals(numbers.get(m.getQueueOffset())), q + " from " + from);
        }
        if (first.getQueueOffset() < from) fromWithin++;
      }
      Verbs.check(c.searchOffset(q, 1) == 0, "the first offset by time is " + c.searchOffset(q, 1));
    }
    Verbs.check(missing.isEmpty(), "never pulled: " + missing);
    for (Map.Entry<String, Integer> id : ids.entrySet()) {
      MessageExt whole = Keyed.eventually("id " + id.getKey(), () -> p.viewMessage(topic, id.getKey()));
      Verbs.check(id.getValue().toString().equals(whole.getProperty("INNER_NUM")), id + ": " + whole.getProperties());
    }
    System.out.println("verified " + sent + " by pull, " + placed + " at their places, " + fromWithin
        + " pulls from within a batch, " + ids.size() + " batches by id");
  }

  static void tags(String topic, String tag, String ledger) throws Exception {
    DefaultMQProducer p = Keyed.producer("batch_tags");
    DefaultMQPullConsumer c = Keyed.puller("batch_tags_c");
    Map<Integer, String[]> lines = new HashMap<>();
    for (String[] line : Keyed.lines(ledger)) lines.put(Integer.parseInt(line[0]), line);
    int singly = 0, own = 0, wanted = 0;
    for (MessageQueue q : Keyed.queues(p, topic)) {
      long max = c.maxOffset(q);
      for (long offset = 0; offset < max; ) {
        PullResult r = pull(c, q, tag, offset);
        if (r.getPullStatus() == PullStatus.FOUND) {
          for (MessageExt m : r.getMsgFoundList()) {
            compare(m, "pull of " + tag);
            Verbs.check(tag.equals(m.getTags()), "tags " + m.getTags());
            String[] line = lines.get(Integer.parseInt(m.getUserProperty("number")));
            if (line[1].equals("-")) own++; else singly++;
            Verbs.check(!line[3].contains("/"), line[0] + " is of a batch without tags");
          }
        }
        Verbs.check(r.getNextBeginOffset() > offset, q + " does not move at " + offset);
        offset = r.getNextBeginOffset();
      }
    }
    for (String[] line : lines.values()) {
      if (!line[3].contains("/") && tag(Integer.parseInt(line[0])).equals(tag)) wanted++;
    }
    Verbs.check(singly + own == wanted, singly + " single and " + own + " of the client's batches, not " + wanted);
    System.out.println("pulled " + wanted + " by their tag");
  }

  static void push(String topic, String group, int count, String consumed, boolean fails) throws Exception {
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
    c.setNamesrvAddr(Verbs.NS);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.setPersistConsumerOffsetInterval(500);
    c.subscribe(topic, "*");
    Map<Integer, Integer> got = new ConcurrentHashMap<>();
    AtomicInteger comeBack = new AtomicInteger();
    Set<String> wrong = ConcurrentHashMap.newKeySet();
    c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
      for (MessageExt m : messages) {
        int n = Integer.parseInt(m.getUserProperty("number"));
        try {
          if (m.getReconsumeTimes() == 0) compare(m, "push");
        } catch (AssertionError e) {
          wrong.add(e.getMessage());
        }
        if (fails && n % 50 == 7 && m.getReconsumeTimes() == 0) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        if (m.getReconsumeTimes() > 0) comeBack.incrementAndGet();
        got.merge(n, 1, Integer::sum);
      }
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    c.start();
    for (long end = System.currentTimeMillis() + 90_000; got.size() < count && System.currentTimeMillis() < end; ) Thread.sleep(50);
    Thread.sleep(1_500); // what comes twice comes now; and the offsets are sent
    c.shutdown();
    Verbs.check(wrong.isEmpty(), wrong.toString());
    Verbs.check(got.size() == count, "consumed " + got.size() + " of " + count);
    got.forEach((n, times) -> Verbs.check(times == 1, n + " was consumed " + times + " times"));
    try (PrintWriter out = new PrintWriter(new FileWriter(consumed, true))) {
      for (Integer n : new TreeSet<>(got.keySet())) out.println(n);
    }
    System.out.println("consumed " + got.size() + " by push, " + comeBack + " at the second try");
  }

  /** Offsets count messages, not records. */
  static void progress(String topic, String group) throws Exception {
    DefaultMQAdminExt admin = Verbs.admin();
    long[] sums = new long[3];
    admin.examineTopicStats(topic).getOffsetTable().forEach((q, offset) -> {
      sums[0] += offset.getMaxOffset() - offset.getMinOffset();
      Verbs.check(offset.getMaxOffset() == 0 || offset.getLastUpdateTimestamp() > 0, q + " was never written");
    });
    admin.examineConsumeStats(group, topic).getOffsetTable().forEach((q, offset) -> {
      sums[1] += offset.getConsumerOffset();
      sums[2] += offset.getBrokerOffset() - offset.getConsumerOffset();
    });
    System.out.println("the topic has " + sums[0] + ", the group consumed " + sums[1] + ", behind by " + sums[2]);
  }

  static void account(String ledger, String consumed) throws Exception {
    Set<String> sent = new TreeSet<>(), seen = new TreeSet<>();
    for (String[] line : Keyed.lines(ledger)) sent.add(line[0]);
    for (String[] line : Keyed.lines(consumed)) Verbs.check(seen.add(line[0]), line[0] + " was consumed twice");
    sent.removeAll(seen);
    Verbs.check(sent.isEmpty(), "never consumed: " + sent);
    System.out.println("every one of " + seen.size() + " was consumed once");
  }
}
