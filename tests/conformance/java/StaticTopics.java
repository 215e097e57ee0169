import java.io.File;
import java.io.FileWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.admin.TopicOffset;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicConfigAndQueueMapping;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicQueueMappingUtils;
import org.apache.rocketmq.remoting.protocol.statictopic.TopicRemappingDetailWrapper;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.admin.MQAdminUtils;

/**
 * Static topics (logic queue mapping) on the published Java client: what static_topics.sh sends, and how it
 * proves that a logic queue has all of it, wherever its stretches lie.
 *
 * <pre>
 *   send     TOPIC QUEUES FROM TO LEDGER      round-robin; appends "n queue offset"; offsets are consecutive
 *   verify   TOPIC QUEUES LEDGER              minimum, maximum, topic stats, and every message by pull from 0 on
 *   consume  TOPIC GROUP QUEUES MAX CONSUMED  from the committed offsets, at most MAX, commits; appends numbers
 *   orderly  TOPIC GROUP COUNT CONSUMED       an orderly push consumer until it has so many; offsets rise
 *   retry    TOPIC GROUP COUNT CONSUMED       a push consumer; every 50th message fails at first and comes back
 *   progress TOPIC GROUP QUEUES               the group's offsets, in sum
 *   live     TOPIC GROUP QUEUES LEDGER FILE   sends and consumes while FILE is there; all of it comes, in order
 *   mapping  TOPIC QUEUES BROKER...           who has to lead the queues, evenly; RocketMQ's own checks
 *   replay   BEFORE AFTER BROKER...           RocketMQ's remapping of the mapping in BEFORE is that in AFTER
 *   account  LEDGER CONSUMED                  every sent number was consumed, none twice
 * </pre>
 */
public class StaticTopics {
  static final String MOCK = "__syslo__global__";
  static final int BLOCK = TopicQueueMappingUtils.DEFAULT_BLOCK_SEQ_SIZE;

  public static void main(String[] a) { Verbs.run(a, StaticTopics::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "send": send(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), Integer.parseInt(a[4]), a[5]); break;
      case "verify": verify(a[1], Integer.parseInt(a[2]), a[3]); break;
      case "consume": consume(a[1], a[2], Integer.parseInt(a[3]), Integer.parseInt(a[4]), a[5]); break;
      case "orderly": push(a[1], a[2], Integer.parseInt(a[3]), a[4], true); break;
      case "retry": push(a[1], a[2], Integer.parseInt(a[3]), a[4], false); break;
      case "progress": progress(a[1], a[2], Integer.parseInt(a[3])); break;
      case "live": live(a[1], a[2], Integer.parseInt(a[3]), a[4], new File(a[5])); break;
      case "mapping": mapping(a[1], Integer.parseInt(a[2]), Set.of(Arrays.copyOfRange(a, 3, a.length))); break;
      case "replay": replay(a[1], a[2], Set.of(Arrays.copyOfRange(a, 3, a.length))); break;
      case "account": Keyed.account(a[1], a[2]); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static DefaultMQProducer producer(String group) throws Exception {
    DefaultMQProducer p = new DefaultMQProducer(group);
    p.setNamesrvAddr(Verbs.NS);
    p.setSendMsgTimeout(10_000);
    p.setRetryTimesWhenSendFailed(0);
    p.setPollNameServerInterval(500);
    p.start();
    return p;
  }

  static DefaultMQPullConsumer puller(String group) throws Exception {
    DefaultMQPullConsumer c = new DefaultMQPullConsumer(group);
    c.setNamesrvAddr(Verbs.NS);
    c.setPollNameServerInterval(500);
    c.start();
    return c;
  }

  /** The queues, once the route tells of so many. */
  static List<MessageQueue> queues(DefaultMQProducer p, String topic, int count) throws Exception {
    return Keyed.eventually(count + " queues of " + topic, () -> {
      List<MessageQueue> list = p.fetchPublishMessageQueues(topic);
      if (list.size() != count) return null;
      for (int i = 0; i < count; i++) {
        MessageQueue q = list.get(i);
        Verbs.check(q.getQueueId() == i && MOCK.equals(q.getBrokerName()), "queue " + i + " is " + q);
      }
      return list;
    });
  }

  /** While a route is old its queues may have another leader. */
  static <T> T led(String what, Keyed.Attempt<T> attempt) throws Exception {
    return Keyed.eventually(what, () -> {
      try {
        return attempt.get();
      } catch (MQBrokerException e) {
        if (e.getResponseCode() != ResponseCode.NOT_LEADER_FOR_QUEUE) throw e;
        Thread.sleep(100);
        return null;
      }
    });
  }

  static Message message(String topic, int n) {
    byte[] body = ("body of " + n + " ✓").getBytes(StandardCharsets.UTF_8);
    Message m = new Message(topic, n % 3 == 0 ? "TagA" : "TagB", "key-" + n, body);
    m.putUserProperty("number", Integer.toString(n));
    return m;
  }

  static int number(MessageExt m) {
    int n = Integer.parseInt(m.getUserProperty("number"));
    Verbs.check(Arrays.equals(message("", n).getBody(), m.getBody()), n + ": body differs");
    Verbs.check(("key-" + n).equals(m.getKeys()), n + ": keys " + m.getKeys());
    return n;
  }

  /** An offset follows another, or begins a stretch. */
  static boolean follows(long before, long offset) {
    return offset == before + 1 || offset > before && offset % BLOCK == 0;
  }

  static Map<Integer, TreeMap<Long, Integer>> ledger(String file) throws Exception {
    Map<Integer, TreeMap<Long, Integer>> all = new TreeMap<>();
    for (String[] line : Keyed.lines(file)) {
      TreeMap<Long, Integer> queue = all.computeIfAbsent(Integer.parseInt(line[1]), q -> new TreeMap<>());
      int n = Integer.parseInt(line[0]);
      long offset = Long.parseLong(line[2]);
      Verbs.check(queue.isEmpty() || queue.lastEntry().getValue() < n, "ledger: " + n + " is out of order");
      Verbs.check(follows(queue.isEmpty() ? -1 : queue.lastKey(), offset),
          "queue " + line[1] + ": " + offset + " after " + (queue.isEmpty() ? -1 : queue.lastKey()));
      queue.put(offset, n);
    }
    return all;
  }

  static void send(String topic, int count, int from, int to, String file) throws Exception {
    DefaultMQProducer p = producer("static_sender");
    List<MessageQueue> queues = queues(p, topic, count);
    Map<Integer, TreeMap<Long, Integer>> known = ledger(file);
    try (PrintWriter out = new PrintWriter(new FileWriter(file, true))) {
      for (int n = from; n < to; n++) {
        int number = n;
        MessageQueue q = queues.get(n % count);
        SendResult r = led("send of " + n, () -> p.send(message(topic, number), q));
        Verbs.check(r.getSendStatus() == SendStatus.SEND_OK, n + " was answered " + r.getSendStatus());
        Verbs.check(r.getMessageQueue().getQueueId() == q.getQueueId(), n + " went to " + r.getMessageQueue());
        TreeMap<Long, Integer> queue = known.computeIfAbsent(q.getQueueId(), x -> new TreeMap<>());
        long last = queue.isEmpty() ? -1 : queue.lastKey();
        Verbs.check(follows(last, r.getQueueOffset()), q + ": " + r.getQueueOffset() + " after " + last);
        queue.put(r.getQueueOffset(), n);
        out.println(n + " " + q.getQueueId() + " " + r.getQueueOffset());
      }
    }
    Map<Integer, Long> ends = new TreeMap<>();
    known.forEach((q, offsets) -> ends.put(q, offsets.lastKey() + 1));
    System.out.println("sent " + (to - from) + ", queues end at " + ends);
  }

  static void verify(String topic, int count, String file) throws Exception {
    DefaultMQProducer p = producer("static_verifier");
    DefaultMQPullConsumer c = puller("static_verifier_c");
    DefaultMQAdminExt admin = Verbs.admin();
    Map<Integer, TreeMap<Long, Integer>> sent = ledger(file);
    int pulled = 0, gaps = 0;
    for (MessageQueue q : queues(p, topic, count)) {
      TreeMap<Long, Integer> wanted = sent.getOrDefault(q.getQueueId(), new TreeMap<>());
      long end = wanted.isEmpty() ? 0 : wanted.lastKey() + 1;
      long max = led("maximum offset", () -> c.maxOffset(q) == end ? end : null);
      Verbs.check(led("minimum offset", () -> c.minOffset(q)) == 0, q + " begins at " + c.minOffset(q));
      Keyed.eventually("topic stats of " + q, () -> {
        TopicOffset t = admin.examineTopicStats(topic).getOffsetTable().get(q);
        return t != null && t.getMinOffset() == 0 && t.getMaxOffset() == max ? t : null;
      });
      long last = -1;
      for (long offset = 0; offset < max; ) {
        long from = offset;
        PullResult r = led("pull of " + q + " at " + from, () -> {
          PullResult x = c.pull(q, "*", from, 32, 10_000);
          return x.getPullStatus() == PullStatus.NO_NEW_MSG ? null : x;
        });
        Verbs.check(r.getNextBeginOffset() > from, q + " at " + from + ": " + r);
        if (r.getPullStatus() != PullStatus.FOUND) {
          gaps++;
          Verbs.check(r.getPullStatus() == PullStatus.NO_MATCHED_MSG, q + " at " + from + ": " + r);
          Verbs.check(r.getNextBeginOffset() % BLOCK == 0, q + " at " + from + ": " + r);
          offset = r.getNextBeginOffset();
          continue;
        }
        Verbs.check(r.getMaxOffset() == max || r.getMaxOffset() > last, q + " ends at " + r.getMaxOffset());
        for (MessageExt m : r.getMsgFoundList()) {
          String where = q + " at " + m.getQueueOffset();
          Verbs.check(m.getQueueId() == q.getQueueId() && MOCK.equals(m.getBrokerName()), where + ": " + m);
          Verbs.check(follows(last, m.getQueueOffset()), where + " after " + last);
          Integer n = wanted.remove(m.getQueueOffset());
          Verbs.check(n != null && n == number(m), where + ": " + m.getKeys() + " instead of " + n);
          last = m.getQueueOffset();
          pulled++;
        }
        offset = r.getNextBeginOffset();
      }
      Verbs.check(wanted.isEmpty(), q + " lost " + wanted);
    }
    System.out.println("verified " + pulled + " by pull, over " + gaps + " gaps between stretches");
  }

  static void consume(String topic, String group, int count, int max, String consumed) throws Exception {
    DefaultMQProducer p = producer("static_counter");
    DefaultMQPullConsumer c = puller(group);
    List<MessageQueue> queues = queues(p, topic, count);
    TreeMap<Integer, Long> begin = new TreeMap<>(), end = new TreeMap<>();
    int taken = 0;
    try (PrintWriter out = new PrintWriter(new FileWriter(consumed, true))) {
      for (int i = 0; i < count; i++) {
        MessageQueue q = queues.get(i);
        int share = (max - taken) / (count - i);
        long offset = Math.max(0, Keyed.eventually("committed offset", () -> {
          long known = c.fetchConsumeOffset(q, true);
          return known == -2 ? null : known;   // -2: could not be asked
        }));
        begin.put(i, offset);
        while (share > 0) {
          long from = offset;
          int most = Math.min(32, share);
          PullResult r = led("pull of " + q + " at " + from, () -> c.pull(q, "*", from, most, 10_000));
          if (r.getPullStatus() == PullStatus.NO_NEW_MSG) break;
          if (r.getPullStatus() == PullStatus.FOUND) {
            for (MessageExt m : r.getMsgFoundList()) out.println(number(m));
            share -= r.getMsgFoundList().size();
            taken += r.getMsgFoundList().size();
          }
          offset = r.getNextBeginOffset();
        }
        Keyed.commit(c, q, offset);
        end.put(i, offset);
      }
    }
    System.out.println("consumed " + taken + " from " + begin + " to " + end);
  }

  static void push(String topic, String group, int count, String consumed, boolean orderly) throws Exception {
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
    c.setNamesrvAddr(Verbs.NS);
    c.setPollNameServerInterval(500);
    c.setPersistConsumerOffsetInterval(500);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.subscribe(topic, "*");
    Map<Integer, Boolean> seen = new ConcurrentHashMap<>();
    Set<Integer> failed = ConcurrentHashMap.newKeySet();
    Map<Integer, Long> last = new ConcurrentHashMap<>();
    AtomicReference<String> wrong = new AtomicReference<>();
    if (orderly) {
      c.registerMessageListener((MessageListenerOrderly) (list, context) -> {
        for (MessageExt m : list) {
          Long before = last.put(m.getQueueId(), m.getQueueOffset());
          if (!follows(before == null ? -1 : before, m.getQueueOffset())) {
            wrong.set("queue " + m.getQueueId() + ": " + m.getQueueOffset() + " after " + before);
          }
          if (seen.put(number(m), true) != null) wrong.set(number(m) + " came twice");
        }
        return ConsumeOrderlyStatus.SUCCESS;
      });
    } else {
      c.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
        for (MessageExt m : list) {
          int n = number(m);
          if (n % 50 == 7 && failed.add(n)) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
          if (n % 50 == 7 && m.getReconsumeTimes() != 1) wrong.set(n + ": tried " + m.getReconsumeTimes());
          if (seen.put(n, true) != null) wrong.set(n + " came twice");
        }
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
      });
    }
    c.start();
    Keyed.eventually(count + " consumed", () -> {
      if (seen.size() < count) throw new IllegalStateException(seen.size() + " so far");
      return seen;
    });
    Thread.sleep(500);
    c.shutdown();
    Verbs.check(wrong.get() == null, "" + wrong.get());
    Verbs.check(orderly || failed.size() >= count / 50, "only " + failed.size() + " failed at first");
    try (PrintWriter out = new PrintWriter(new FileWriter(consumed, true))) {
      for (Integer n : seen.keySet()) out.println(n);
    }
    System.out.println("pushed " + seen.size() + ", " + failed.size() + " came back");
  }

  static void progress(String topic, String group, int count) throws Exception {
    ConsumeStats stats = Keyed.eventually("progress of " + group, () -> {
      ConsumeStats s = Verbs.admin().examineConsumeStats(group);
      int known = 0;
      for (MessageQueue q : s.getOffsetTable().keySet()) if (q.getTopic().equals(topic)) known++;
      return known == count ? s : null;
    });
    long ends = 0;
    for (Map.Entry<MessageQueue, OffsetWrapper> e : stats.getOffsetTable().entrySet()) {
      if (!e.getKey().getTopic().equals(topic)) continue;
      Verbs.check(MOCK.equals(e.getKey().getBrokerName()), "progress in " + e.getKey());
      ends += e.getValue().getBrokerOffset();
    }
    System.out.println(count + " queues end at " + ends + " in sum");
  }

  static void live(String topic, String group, int count, String file, File while_) throws Exception {
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
    c.setNamesrvAddr(Verbs.NS);
    c.setPollNameServerInterval(500);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.setPersistConsumerOffsetInterval(500);
    c.subscribe(topic, "*");
    Map<Integer, Boolean> seen = new ConcurrentHashMap<>();
    AtomicReference<String> wrong = new AtomicReference<>();
    Map<Integer, Integer> last = new ConcurrentSkipListMap<>();
    c.registerMessageListener((MessageListenerOrderly) (list, context) -> {
      for (MessageExt m : list) {
        // A message that was sent while its stretch had no place yet has no offset to be told by.
        Integer before = last.put(m.getQueueId(), number(m));
        if (before != null && before > number(m)) wrong.set("queue " + m.getQueueId() + ": " + number(m) + " after " + before);
        seen.put(number(m), true);
      }
      return ConsumeOrderlyStatus.SUCCESS;
    });
    DefaultMQProducer p = producer("static_live");
    List<MessageQueue> queues = queues(p, topic, count);
    c.start();
    Map<Integer, TreeMap<Long, Integer>> known = ledger(file);
    int n = known.values().stream().mapToInt(q -> q.lastEntry().getValue()).max().orElse(-1) + 1;
    int first = n, moved = 0, placeless = 0;
    for (; while_.exists(); n++) {
      MessageQueue q = queues.get(n % count);
      for (long end = System.currentTimeMillis() + 40_000; ; ) {
        try {
          SendResult r = p.send(message(topic, n), q);
          Verbs.check(r.getSendStatus() == SendStatus.SEND_OK, n + " was answered " + r.getSendStatus());
          if (r.getQueueOffset() < 0) placeless++;
          break;
        } catch (MQBrokerException e) {
          if (e.getResponseCode() != ResponseCode.NOT_LEADER_FOR_QUEUE || System.currentTimeMillis() > end) throw e;
          moved++;
          Thread.sleep(50);
        }
      }
      Thread.sleep(2);
    }
    int all = n;
    Keyed.eventually(all + " consumed", () -> {
      if (seen.size() < all) throw new IllegalStateException(seen.size() + " so far");
      return seen;
    });
    c.shutdown();
    Verbs.check(wrong.get() == null, "" + wrong.get());
    Verbs.check(seen.size() == all, "consumed " + seen.size() + " of " + all);
    System.out.println("sent " + (n - first) + " meanwhile, " + moved + " at first to a former leader, " + placeless
        + " to a stretch without a place; all " + all + " were consumed in order");
  }

  static void mapping(String topic, int count, Set<String> brokers) throws Exception {
    Map<String, TopicConfigAndQueueMapping> all = MQAdminUtils.examineTopicConfigAll(topic, Verbs.admin());
    Map.Entry<Long, Integer> agreed = TopicQueueMappingUtils.checkNameEpochNumConsistence(topic, all);
    Verbs.check(agreed.getValue() == count, "there are " + agreed.getValue() + " queues");
    TopicQueueMappingUtils.checkPhysicalQueueConsistence(all);
    Map<String, Integer> led = new TreeMap<>();
    TopicQueueMappingUtils.checkAndBuildMappingItems(TopicQueueMappingUtils.getMappingDetailFromConfig(all.values()), false, true)
        .values().forEach(one -> {
          led.merge(one.getBname(), 1, Integer::sum);
          one.getItems().forEach(item -> Verbs.check(item.getLogicOffset() >= 0, "no place yet: " + item));
        });
    Verbs.check(led.keySet().equals(brokers), "led by " + led);
    int least = led.values().stream().min(Integer::compare).get(), most = led.values().stream().max(Integer::compare).get();
    Verbs.check(most - least <= 1, "led by " + led);
    System.out.println(count + " queues led by " + led);
  }

  static TopicRemappingDetailWrapper read(String file) throws Exception {
    return RemotingSerializable.decode(Files.readAllBytes(new File(file).toPath()), TopicRemappingDetailWrapper.class);
  }

  /** Versions follow the clock. */
  static Object comparable(TopicRemappingDetailWrapper w) {
    w.setEpoch(0);
    w.getBrokerConfigMap().values().forEach(config -> config.getMappingDetail().setEpoch(0));
    return com.alibaba.fastjson2.JSON.parse(w.toJson());
  }

  static void replay(String before, String after, Set<String> brokers) throws Exception {
    TopicRemappingDetailWrapper old = read(before), found = read(after);
    TopicRemappingDetailWrapper made = TopicQueueMappingUtils.remappingStaticTopic(old.getTopic(),
        new HashMap<>(old.getBrokerConfigMap()), new HashSet<>(brokers));
    Verbs.check(found.getEpoch() >= old.getEpoch() + 1000, "epoch " + found.getEpoch() + " after " + old.getEpoch());
    Object one = comparable(found), other = comparable(made);
    Verbs.check(one.equals(other), "\n" + one + "\ninstead of\n" + other);
    System.out.println("the same mapping of " + new ArrayList<>(found.getBrokerConfigMap().keySet()) + " from "
        + found.getBrokerToMapOut() + " to " + found.getBrokerToMapIn());
  }
}
