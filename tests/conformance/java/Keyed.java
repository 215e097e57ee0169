import java.io.BufferedReader;
import java.io.File;
import java.io.FileWriter;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Numbered, keyed messages on the published Java client: what the takeover and mqadmin scripts send, and
 * how they prove that a broker still has all of it.
 *
 * <pre>
 *   setup   TOPIC GROUP QUEUES BROKER_ADDR   makes topic and group, waits for the route
 *   send    TOPIC FROM TO LEDGER             appends "n queue queueOffset msgId offsetMsgId" per acknowledged message
 *   verify  TOPIC LEDGER                     every message by pull (content, place), key, unique key and offset id
 *   consume TOPIC GROUP MAX CONSUMED         from the committed offsets, at most MAX, commits, appends the numbers
 *   slave   TOPIC LEDGER                     every message by pull from a slave whose master is gone, and by key
 *   commit  TOPIC GROUP BROKER QUEUE OFFSET  commits one offset, at the slave when there is no master
 *   ticks   TOPIC GROUP BROKER SECONDS       commits the ms since 1970 again and again for so long
 *   offset  TOPIC GROUP BROKER               prints what is committed, of a master or a slave
 *   light   TOPIC LEDGER                     every light message queue by pull, and what a group of them committed
 *   account LEDGER CONSUMED                  every sent number was consumed, none twice
 *   hold    TOPIC PGROUP CGROUP              a producer and a push consumer that stay until standard input ends
 * </pre>
 * With LMQS set each message names light message queues: one for all, and one for each remainder by 3.
 * NAMESRV_ADDR names the NameServer. Ends with 1 and a reason on the first difference.
 */
public class Keyed {
  public static void main(String[] a) { Verbs.run(a, Keyed::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "setup": setup(a[1], a[2], Integer.parseInt(a[3]), a[4], Map.of()); break;
      case "send": send(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), a[4]); break;
      case "verify": verify(a[1], a[2]); break;
      case "consume": consume(a[1], a[2], Integer.parseInt(a[3]), a[4]); break;
      case "slave": slave(a[1], a[2]); break;
      case "commit": commit(a[1], a[2], new MessageQueue(a[1], a[3], Integer.parseInt(a[4])), Long.parseLong(a[5])); break;
      case "ticks": ticks(a[1], a[2], new MessageQueue(a[1], a[3], 0), Integer.parseInt(a[4])); break;
      case "offset": offset(a[1], a[2], new MessageQueue(a[1], a[3], 0)); break;
      case "light": light(a[1], a[2]); break;
      case "account": account(a[1], a[2]); break;
      case "hold": hold(a[1], a[2], a[3]); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  interface Attempt<T> { T get() throws Exception; }

  /** Repeats while the attempt throws or gives null: routes and indexes follow a little later. */
  static <T> T eventually(String what, Attempt<T> attempt) throws Exception {
    Exception last = null;
    for (long end = System.currentTimeMillis() + 40_000; System.currentTimeMillis() < end; Thread.sleep(50)) {
      try {
        T got = attempt.get();
        if (got != null) return got;
      } catch (Exception e) {
        last = e;
      }
    }
    throw new AssertionError("not within 40 s: " + what + (last == null ? "" : ", last error " + last));
  }

  static DefaultMQProducer producer(String group) throws Exception {
    DefaultMQProducer p = new DefaultMQProducer(group);
    p.setNamesrvAddr(Verbs.NS);
    p.setSendMsgTimeout(10_000);
    p.setRetryTimesWhenSendFailed(0);
    p.setHeartbeatBrokerInterval(1_000);
    p.start();
    return p;
  }

  static DefaultMQPullConsumer puller(String group) throws Exception {
    DefaultMQPullConsumer c = new DefaultMQPullConsumer(group);
    c.setNamesrvAddr(Verbs.NS);
    c.start();
    return c;
  }

  static List<MessageQueue> queues(DefaultMQProducer p, String topic) throws Exception {
    return eventually("route of " + topic, () -> {
      List<MessageQueue> list = new ArrayList<>(p.fetchPublishMessageQueues(topic));
      list.sort(null);
      return list.isEmpty() ? null : list;
    });
  }

  static void setup(String topic, String group, int queues, String broker, Map<String, String> attributes) throws Exception {
    DefaultMQAdminExt admin = Verbs.admin();
    TopicConfig config = new TopicConfig(topic);
    config.setReadQueueNums(queues);
    config.setWriteQueueNums(queues);
    config.getAttributes().putAll(attributes);
    admin.createAndUpdateTopicConfig(broker, config);
    SubscriptionGroupConfig groupConfig = new SubscriptionGroupConfig();
    groupConfig.setGroupName(group);
    admin.createAndUpdateSubscriptionGroupConfig(broker, groupConfig);
    Verbs.check(queues(producer("setup"), topic).size() == queues, "the route has another number of queues");
  }

  /** A light message queue that every message names. */
  static final String LIGHT = MixAll.LMQ_PREFIX + "light";

  static String key(int n) { return "key-" + n; }

  /** Sizes differ, some compress (above 4 KiB the client does), some carry text beyond ASCII. */
  static byte[] body(int n) {
    StringBuilder s = new StringBuilder("body of ").append(n).append(n % 7 == 0 ? " größer ✓ " : " ");
    int want = n % 50 == 3 ? 6000 : 40 + n * 37 % 700;
    while (s.length() < want) s.append(n).append('.');
    return s.toString().getBytes(StandardCharsets.UTF_8);
  }

  static Message message(String topic, int n) {
    Message m = new Message(topic, n % 3 == 0 ? "TagA" : "TagB", key(n) + " pair-" + n / 2, body(n));
    m.putUserProperty("number", Integer.toString(n));
    if (n % 7 == 0) m.putUserProperty("name", "Grüße " + n);
    if (System.getenv("LMQS") != null) {
      MessageAccessor.putProperty(m, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, LIGHT + "," + LIGHT + "-" + n % 3);
    }
    return m;
  }

  /**
   * Commits, and asks for it: the client sends a commit without waiting for an answer, and one that is
   * still to be written is lost when this program ends.
   */
  static void commit(DefaultMQPullConsumer c, MessageQueue queue, long offset) throws Exception {
    eventually("commit of " + offset, () -> {
      c.updateConsumeOffset(queue, offset);
      c.getOffsetStore().persist(queue);
      return c.fetchConsumeOffset(queue, true) == offset ? queue : null;
    });
  }

  /** Singly and round-robin over the queues, every hundredth to hundred-and-ninth as one batch of ten. */
  /** Ten in a hundred are sent as a batch, which enters no light message queue. */
  static boolean isBatched(int n) { return n % 100 < 10; }

  static void send(String topic, int from, int to, String ledger) throws Exception {
    DefaultMQProducer p = producer("keyed_sender");
    List<MessageQueue> queues = queues(p, topic);
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger, true))) {
      for (int n = from; n < to; ) {
        MessageQueue queue = queues.get(n % queues.size());
        if (isBatched(n)) {
          List<Message> batch = new ArrayList<>();
          for (int i = n; i < n + 10; i++) {
            Message m = message(topic, i);
            if (m.getBody().length > 1000) m.setBody(Arrays.copyOf(m.getBody(), 1000));
            batch.add(m);
          }
          record(out, n, p.send(batch, queue), 10);
          n += 10;
        } else {
          record(out, n, p.send(message(topic, n), queue), 1);
          n++;
        }
      }
    }
    System.out.println("sent " + (to - from));
  }

  static void record(PrintWriter out, int n, SendResult r, int count) {
    Verbs.check(r.getSendStatus() == SendStatus.SEND_OK, n + " was answered " + r.getSendStatus());
    String[] unique = r.getMsgId().split(",");
    String[] byOffset = r.getOffsetMsgId() == null ? new String[0] : r.getOffsetMsgId().split(",");
    for (int i = 0; i < count; i++) {
      out.println((n + i) + " " + r.getMessageQueue().getQueueId() + " " + (r.getQueueOffset() + i) + " "
          + unique[i] + " " + (i < byOffset.length ? byOffset[i] : "-"));
    }
  }

  static List<String[]> lines(String file) throws Exception {
    List<String[]> all = new ArrayList<>();
    if (!new File(file).exists()) return all;
    for (String line : Files.readAllLines(new File(file).toPath())) all.add(line.split(" "));
    return all;
  }

  static void compare(String[] sent, MessageExt got, String how) {
    int n = Integer.parseInt(sent[0]);
    String where = n + " by " + how;
    Verbs.check(got != null, where + ": nothing");
    byte[] body = body(n);
    boolean cut = got.getBody().length == 1000 && body.length > 1000;
    Verbs.check(Arrays.equals(cut ? Arrays.copyOf(body, 1000) : body, got.getBody()), where + ": body differs");
    Verbs.check((key(n) + " pair-" + n / 2).equals(got.getKeys()), where + ": keys " + got.getKeys());
    Verbs.check((n % 3 == 0 ? "TagA" : "TagB").equals(got.getTags()), where + ": tags " + got.getTags());
    Verbs.check(Integer.toString(n).equals(got.getUserProperty("number")), where + ": property");
    if (n % 7 == 0) Verbs.check(("Grüße " + n).equals(got.getUserProperty("name")), where + ": property beyond ASCII");
    Verbs.check(got.getQueueId() == Integer.parseInt(sent[1]), where + ": queue " + got.getQueueId());
    Verbs.check(got.getQueueOffset() == Long.parseLong(sent[2]), where + ": queue offset " + got.getQueueOffset());
  }

  static void verify(String topic, String ledger) throws Exception {
    DefaultMQProducer p = producer("keyed_verifier");
    DefaultMQPullConsumer c = puller("keyed_verifier_c");
    Map<String, String[]> sent = new HashMap<>();
    for (String[] line : lines(ledger)) sent.put(line[1] + "/" + line[2], line);
    int pulled = 0;
    for (MessageQueue queue : queues(p, topic)) {
      MessageQueue q = queue;
      long max = eventually("maximum offset", () -> c.maxOffset(q));
      Verbs.check(c.minOffset(q) == 0, "minimum offset of " + q + " is " + c.minOffset(q));
      for (long offset = 0; offset < max; ) {
        long from = offset;
        PullResult r = eventually("pull at " + from, () -> {
          PullResult x = c.pull(q, "*", from, 32, 10_000);
          return x.getPullStatus() == PullStatus.FOUND ? x : null;
        });
        for (MessageExt m : r.getMsgFoundList()) {
          Verbs.check(m.getQueueOffset() == offset, q + " at " + offset + " gives " + m.getQueueOffset());
          String[] line = sent.get(q.getQueueId() + "/" + offset);
          Verbs.check(line != null, q + " at " + offset + ": a message that nobody was told of, keys " + m.getKeys());
          compare(line, m, "pull");
          Verbs.check(line[3].equals(m.getMsgId()), line[0] + ": unique id " + m.getMsgId());
          offset++;
          pulled++;
        }
      }
    }
    Verbs.check(pulled == sent.size(), "pulled " + pulled + " of " + sent.size() + " acknowledged");
    for (String[] line : sent.values()) {
      int n = Integer.parseInt(line[0]);
      compare(line, eventually("key of " + n, () -> {
        QueryResult r = p.queryMessage(topic, key(n), 32, 0, System.currentTimeMillis() + 60_000);
        // Java's recovery indexes the last record before its checkpoint a second time: the same message twice.
        for (MessageExt m : r.getMessageList()) compare(line, m, "key");
        return r.getMessageList().isEmpty() ? null : r.getMessageList().get(0);
      }), "key");
      compare(line, eventually("unique key of " + n, () -> p.viewMessage(topic, line[3])), "unique key");
      if (!line[4].equals("-")) compare(line, p.viewMessage(topic, line[4]), "offset id");
    }
    System.out.println("verified " + pulled + " by pull, key, unique key and offset id");
  }

  /** Nobody is there to be asked for maximum offsets or by offset id: clients ask masters for those. */
  static void slave(String topic, String ledger) throws Exception {
    DefaultMQProducer p = producer("keyed_verifier");
    DefaultMQPullConsumer c = puller("keyed_verifier_c");
    Map<String, String[]> sent = new HashMap<>();
    for (String[] line : lines(ledger)) sent.put(line[1] + "/" + line[2], line);
    List<MessageQueue> queues = eventually("route of " + topic, () -> {
      List<MessageQueue> list = new ArrayList<>(c.fetchSubscribeMessageQueues(topic));
      return list.isEmpty() ? null : list;
    });
    int pulled = 0;
    for (MessageQueue q : queues) {
      for (long offset = 0; ; ) {
        long from = offset;
        PullResult r = eventually("pull at " + from, () -> c.pull(q, "*", from, 32, 10_000));
        if (r.getPullStatus() != PullStatus.FOUND) break;
        for (MessageExt m : r.getMsgFoundList()) {
          String[] line = sent.get(q.getQueueId() + "/" + offset);
          Verbs.check(line != null, q + " at " + offset + ": a message that nobody was told of, keys " + m.getKeys());
          compare(line, m, "pull");
          offset++;
          pulled++;
        }
      }
    }
    Verbs.check(pulled == sent.size(), "pulled " + pulled + " of " + sent.size() + " acknowledged");
    for (String[] line : sent.values()) {
      int n = Integer.parseInt(line[0]);
      compare(line, eventually("key of " + n, () -> {
        QueryResult r = p.queryMessage(topic, key(n), 32, 0, System.currentTimeMillis() + 60_000);
        return r.getMessageList().isEmpty() ? null : r.getMessageList().get(0);
      }), "key");
    }
    System.out.println("the slave gave " + pulled + " by pull and key");
  }

  static void consume(String topic, String group, int max, String consumed) throws Exception {
    DefaultMQProducer p = producer("keyed_counter");
    DefaultMQPullConsumer c = puller(group);
    List<MessageQueue> queues = queues(p, topic);
    TreeMap<Integer, Long> begin = new TreeMap<>(), end = new TreeMap<>();
    int taken = 0;
    try (PrintWriter out = new PrintWriter(new FileWriter(consumed, true))) {
      for (int i = 0; i < queues.size(); i++) {
        MessageQueue q = queues.get(i);
        // Shared out so that every queue stops somewhere in its middle.
        int share = (max - taken) / (queues.size() - i);
        long offset = Math.max(0, eventually("committed offset", () -> c.fetchConsumeOffset(q, true)));
        begin.put(q.getQueueId(), offset);
        while (share > 0) {
          PullResult r = c.pull(q, "*", offset, Math.min(32, share), 10_000);
          if (r.getPullStatus() != PullStatus.FOUND) break;
          for (MessageExt m : r.getMsgFoundList()) out.println(m.getUserProperty("number"));
          share -= r.getMsgFoundList().size();
          taken += r.getMsgFoundList().size();
          offset = r.getNextBeginOffset();
        }
        commit(c, q, offset);
        end.put(q.getQueueId(), offset);
      }
    }
    System.out.println("consumed " + taken + " from " + begin + " to " + end);
  }

  static void light(String topic, String ledger) throws Exception {
    DefaultMQPullConsumer c = puller(MixAll.LMQ_PREFIX + "light_group");
    MessageQueue parent = eventually("route of " + topic, () -> {
      var all = c.fetchSubscribeMessageQueues(topic);
      return all.isEmpty() ? null : all.iterator().next();
    });
    // No NameServer knows light message queues: the client learns the broker's address with the other topic.
    c.maxOffset(parent);
    int held = 0;
    for (int part = -1; part < 3; part++) {
      String name = part < 0 ? LIGHT : LIGHT + "-" + part;
      MessageQueue q = new MessageQueue(name, parent.getBrokerName(), 0);
      Map<String, String[]> wanted = new HashMap<>();
      for (String[] line : lines(ledger)) {
        int n = Integer.parseInt(line[0]);
        if (!isBatched(n) && (part < 0 || n % 3 == part)) wanted.put(line[0], line);
      }
      File committed = new File(ledger + "." + name.replace('%', '_'));
      if (committed.exists()) {
        long last = Long.parseLong(Files.readString(committed.toPath()));
        eventually("offset " + last + " of " + name, () -> c.fetchConsumeOffset(q, true) == last ? q : null);
      }
      int at = 0;
      while (!wanted.isEmpty()) {
        int from = at;
        PullResult r = eventually("pull of " + name + " at " + from, () -> {
          PullResult x = c.pull(q, "*", from, 32, 10_000);
          return x.getPullStatus() == PullStatus.FOUND ? x : null;
        });
        for (MessageExt m : r.getMsgFoundList()) {
          String[] line = wanted.remove(m.getUserProperty("number"));
          Verbs.check(line != null, name + " at " + at + ": nobody was told, or twice: " + m.getKeys());
          // The client names the queue that it pulled from, and the offset in the topic's.
          line[1] = "0";
          compare(line, m, name);
          at++;
          String[] offsets = m.getProperty(MessageConst.PROPERTY_INNER_MULTI_QUEUE_OFFSET).split(",");
          Verbs.check(Long.parseLong(offsets[part < 0 ? 0 : 1]) == at - 1, name + " at " + (at - 1) + ": " + offsets);
        }
        Verbs.check(r.getNextBeginOffset() == at, name + " goes on at " + r.getNextBeginOffset());
      }
      PullResult end = c.pull(q, "*", at, 1, 10_000);
      Verbs.check(end.getPullStatus() == PullStatus.NO_NEW_MSG, name + " has more than was sent: " + end);
      commit(c, q, at);
      Files.writeString(committed.toPath(), Integer.toString(at));
      held += at;
    }
    System.out.println("light queues hold " + held);
  }

  static void commit(String topic, String group, MessageQueue queue, long offset) throws Exception {
    DefaultMQPullConsumer c = puller(group);
    eventually("route of " + topic, () -> c.fetchSubscribeMessageQueues(topic).isEmpty() ? null : topic);
    commit(c, queue, offset);
    System.out.println("committed " + offset);
  }

  static void ticks(String topic, String group, MessageQueue queue, int seconds) throws Exception {
    DefaultMQPullConsumer c = puller(group);
    eventually("route of " + topic, () -> c.fetchSubscribeMessageQueues(topic).isEmpty() ? null : topic);
    long last = 0;
    for (long end = System.currentTimeMillis() + seconds * 1000L; System.currentTimeMillis() < end; Thread.sleep(100)) {
      last = System.currentTimeMillis();
      c.updateConsumeOffset(queue, last);
      c.getOffsetStore().persist(queue);
    }
    System.out.println("ticked " + last);
  }

  static void offset(String topic, String group, MessageQueue queue) throws Exception {
    DefaultMQPullConsumer c = puller(group);
    eventually("route of " + topic, () -> c.fetchSubscribeMessageQueues(topic).isEmpty() ? null : topic);
    System.out.println("offset " + c.fetchConsumeOffset(queue, true));
  }

  static void account(String ledger, String consumed) throws Exception {
    Map<String, Integer> times = new HashMap<>();
    for (String[] line : lines(consumed)) times.merge(line[0], 1, Integer::sum);
    for (String[] line : lines(ledger)) {
      Integer n = times.remove(line[0]);
      Verbs.check(n != null && n == 1, "message " + line[0] + " was consumed " + n + " times");
    }
    Verbs.check(times.isEmpty(), "consumed but never acknowledged: " + times);
    System.out.println("each consumed once");
  }

  static void hold(String topic, String producerGroup, String consumerGroup) throws Exception {
    DefaultMQProducer p = producer(producerGroup);
    queues(p, topic);
    AtomicInteger count = new AtomicInteger();
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(consumerGroup);
    c.setNamesrvAddr(Verbs.NS);
    c.setInstanceName("held");
    c.setPersistConsumerOffsetInterval(500);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.subscribe(topic, "*");
    c.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
      count.addAndGet(list.size());
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    c.start();
    System.out.println("held");
    // Each line on standard input is a number to wait for: prints it once so many were consumed.
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      int want = Integer.parseInt(line.trim());
      eventually(want + " consumed, have " + count, () -> count.get() >= want ? count : null);
      System.out.println("consumed " + count);
    }
    c.shutdown();
    p.shutdown();
  }
}
