import java.io.FileWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeader;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Compaction topics on the published Java client.
 *
 * <pre>
 *   setup     TOPIC GROUP QUEUES BROKER_ADDR   makes a topic with cleanup.policy=COMPACTION, and the group
 *   facts     TOPIC BROKER_ADDR                prints what is answered to sends without a key, or without a body
 *   send      TOPIC FROM TO KEYS LEDGER        message n has key n modulo KEYS; appends "n queue queueOffset"
 *   delete    TOPIC KEY BROKER_ADDR LEDGER     sends a message with an empty body for a key to its queue
 *   compacted TOPIC LEDGER LEFT                waits until at most LEFT messages are left, and checks which
 *   last      TOPIC GROUP LEDGER               a push consumer from the first offset on sees the last of each key
 *   offsets   TOPIC                            prints first and last offsets
 *   expire    BROKER_ADDR                      has old files of the commit log deleted
 * </pre>
 * NAMESRV_ADDR names the NameServer. Ends with 1 and a reason on the first difference.
 */
public class Compacted {
  public static void main(String[] a) { Verbs.run(a, Compacted::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "setup": setup(a[1], a[2], Integer.parseInt(a[3]), a[4]); break;
      case "facts": facts(a[1], a[2]); break;
      case "send": send(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), Integer.parseInt(a[4]), Paths.get(a[5])); break;
      case "delete": delete(a[1], Integer.parseInt(a[2]), a[3], Paths.get(a[4])); break;
      case "compacted": compacted(a[1], Paths.get(a[2]), Integer.parseInt(a[3])); break;
      case "last": last(a[1], a[2], Paths.get(a[3])); break;
      case "offsets": offsets(a[1]); break;
      case "expire": expire(a[1]); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static void setup(String topic, String group, int queues, String broker) throws Exception {
    Keyed.setup(topic, group, queues, broker, Map.of("+cleanup.policy", "COMPACTION"));
  }

  static String key(int n, int keys) { return "key-" + n % keys; }

  static byte[] body(int n) {
    StringBuilder s = new StringBuilder("body of ").append(n).append(' ');
    while (s.length() < 100 + n * 37 % 300) s.append(n).append('.');
    return s.toString().getBytes(StandardCharsets.UTF_8);
  }

  static Message message(String topic, int n, int keys) {
    Message m = new Message(topic, n % 3 == 0 ? "TagA" : "TagB", key(n, keys), body(n));
    m.putUserProperty("number", Integer.toString(n));
    return m;
  }

  /** All messages of a key go to one queue. */
  static MessageQueue queueOf(List<MessageQueue> queues, String key) {
    return queues.get(Math.floorMod(key.hashCode(), queues.size()));
  }

  static void send(String topic, int from, int to, int keys, Path ledger) throws Exception {
    DefaultMQProducer p = Keyed.producer("compacted_sender");
    List<MessageQueue> queues = Keyed.queues(p, topic);
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger.toFile(), true))) {
      for (int n = from; n < to; n++) {
        Message m = message(topic, n, keys);
        SendResult sent = p.send(m, queueOf(queues, key(n, keys)));
        Verbs.check(sent.getSendStatus() == SendStatus.SEND_OK, n + ": " + sent);
        out.println(n + " " + sent.getMessageQueue().getQueueId() + " " + sent.getQueueOffset() + " " + key(n, keys));
      }
    }
    System.out.println("sent " + (to - from));
  }

  /** A request that the client's own checks would not let pass. */
  static RemotingCommand raw(DefaultMQProducer p, String broker, String topic, int queue, String properties, byte[] body) throws Exception {
    SendMessageRequestHeader header = new SendMessageRequestHeader();
    header.setProducerGroup("compacted_raw");
    header.setTopic(topic);
    header.setDefaultTopic("TBW102");
    header.setDefaultTopicQueueNums(1);
    header.setQueueId(queue);
    header.setSysFlag(0);
    header.setBornTimestamp(System.currentTimeMillis());
    header.setFlag(0);
    header.setReconsumeTimes(0);
    header.setProperties(properties);
    RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.SEND_MESSAGE, header);
    request.setBody(body);
    RemotingClient client = p.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl().getRemotingClient();
    return client.invokeSync(broker, request, 10_000);
  }

  static void facts(String topic, String broker) throws Exception {
    DefaultMQProducer p = Keyed.producer("compacted_facts");
    MessageQueue queue = Keyed.queues(p, topic).get(0);
    for (String keys : new String[] {null, " "}) {
      try {
        Message m = new Message(topic, "TagA", "x".getBytes());
        if (keys != null) m.putUserProperty("other", "1");
        RemotingCommand answer = raw(p, broker, topic, 0, keys == null ? "TAGS\u0001A" : "KEYS\u0001" + keys, "x".getBytes());
        System.out.println("keys=" + keys + ": " + answer.getCode() + " " + answer.getRemark());
      } catch (Exception e) {
        System.out.println("keys=" + keys + ": " + e);
      }
    }
    List<Message> batch = new ArrayList<>();
    batch.add(new Message(topic, "TagA", "batch-key", "with".getBytes()));
    batch.add(new Message(topic, "TagA", "without".getBytes()));
    try {
      System.out.println("batch: " + p.send(batch, queue).getSendStatus());
    } catch (MQBrokerException e) {
      System.out.println("batch: " + e.getResponseCode() + " " + e.getErrorMessage());
    }
    RemotingCommand answer = raw(p, broker, topic, 0, "KEYS\u0001empty", null);
    System.out.println("no body: " + answer.getCode() + " " + answer.getRemark());
  }

  static void delete(String topic, int number, String broker, Path ledger) throws Exception {
    DefaultMQProducer p = Keyed.producer("compacted_deleter");
    String key = "key-" + number;
    MessageQueue queue = queueOf(Keyed.queues(p, topic), key);
    RemotingCommand answer = raw(p, broker, topic, queue.getQueueId(), "KEYS\u0001" + key, null);
    Verbs.check(answer.getCode() == 0, "deletion: " + answer.getCode() + " " + answer.getRemark());
    try (PrintWriter out = new PrintWriter(new FileWriter(ledger.toFile(), true))) {
      out.println("-1 " + queue.getQueueId() + " " + answer.getExtFields().get("queueOffset") + " " + key);
    }
  }

  /** One line of the ledger. */
  static class Sent {
    int n;
    long offset;
    String key;
  }

  static Map<Integer, TreeMap<Long, Sent>> sent(Path ledger) throws Exception {
    Map<Integer, TreeMap<Long, Sent>> all = new TreeMap<>();
    for (String line : Files.readAllLines(ledger)) {
      String[] f = line.split(" ");
      Sent s = new Sent();
      s.n = Integer.parseInt(f[0]);
      s.offset = Long.parseLong(f[2]);
      s.key = f[3];
      all.computeIfAbsent(Integer.parseInt(f[1]), q -> new TreeMap<>()).put(s.offset, s);
    }
    return all;
  }

  static TreeMap<Long, MessageExt> pullAll(DefaultMQPullConsumer c, MessageQueue queue) throws Exception {
    TreeMap<Long, MessageExt> all = new TreeMap<>();
    for (long at = 0;;) {
      PullResult pulled = c.pull(queue, "*", at, 32);
      if (pulled.getPullStatus() == PullStatus.NO_NEW_MSG) return all;
      if (pulled.getPullStatus() == PullStatus.FOUND) {
        for (MessageExt m : pulled.getMsgFoundList()) {
          Verbs.check(m.getQueueOffset() >= at && all.put(m.getQueueOffset(), m) == null, "offset " + m.getQueueOffset() + " after " + at);
        }
      }
      Verbs.check(pulled.getNextBeginOffset() > at, pulled + " at " + at);
      at = pulled.getNextBeginOffset();
    }
  }

  /** The messages that a compaction of all before `cut` leaves of a queue. */
  static TreeMap<Long, Sent> left(TreeMap<Long, Sent> sent, long cut) {
    Map<String, Sent> lasts = new HashMap<>();
    for (Sent s : sent.headMap(cut).values()) lasts.put(s.key, s);
    TreeMap<Long, Sent> left = new TreeMap<>(sent.tailMap(cut));
    for (Sent s : lasts.values()) if (s.n >= 0) left.put(s.offset, s);
    return left;
  }

  static void compacted(String topic, Path ledger, int most) throws Exception {
    DefaultMQPullConsumer c = Keyed.puller("compacted_puller");
    List<MessageQueue> queues = Keyed.queues(Keyed.producer("route"), topic);
    Map<Integer, TreeMap<Long, Sent>> sent = sent(ledger);
    int total = sent.values().stream().mapToInt(TreeMap::size).sum();
    Map<Integer, TreeMap<Long, MessageExt>> pulled = new TreeMap<>();
    Keyed.eventually("at most " + most + " of " + total + " messages are left", () -> {
      int count = 0;
      for (MessageQueue q : queues) {
        TreeMap<Long, MessageExt> all = pullAll(c, q);
        pulled.put(q.getQueueId(), all);
        count += all.size();
      }
      return count <= most ? true : null;
    });
    for (Map.Entry<Integer, TreeMap<Long, Sent>> of : sent.entrySet()) {
      TreeMap<Long, MessageExt> found = pulled.get(of.getKey());
      for (MessageExt m : found.values()) {
        Sent s = of.getValue().get(m.getQueueOffset());
        Verbs.check(s != null, "nothing was sent to " + of.getKey() + " at " + m.getQueueOffset());
        Verbs.check(s.key.equals(m.getKeys()) && (s.n < 0 || java.util.Arrays.equals(m.getBody(), body(s.n))), "another message at " + m.getQueueOffset());
      }
      Long cut = null;
      for (Long at : of.getValue().descendingKeySet()) {
        if (left(of.getValue(), at).keySet().equals(found.keySet())) { cut = at; break; }
      }
      Verbs.check(cut != null, "queue " + of.getKey() + " has neither all nor the last of each key: " + found.keySet());
      System.out.println("queue " + of.getKey() + ": " + found.size() + " of " + of.getValue().size() + " are left, compacted up to " + cut);
    }
  }

  static void last(String topic, String group, Path ledger) throws Exception {
    Map<String, Integer> expected = new TreeMap<>();
    for (TreeMap<Long, Sent> queue : sent(ledger).values()) {
      for (Sent s : queue.values()) expected.put(s.key, s.n);
    }
    expected.values().removeIf(n -> n < 0);
    Map<String, Integer> seen = new ConcurrentHashMap<>();
    DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
    c.setNamesrvAddr(Verbs.NS);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.subscribe(topic, "TagA || TagB");
    c.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
      for (MessageExt m : messages) {
        if (m.getBody() != null && m.getBody().length > 0) seen.put(m.getKeys(), Integer.parseInt(m.getUserProperty("number")));
        else seen.remove(m.getKeys());
      }
      return ConsumeOrderlyStatus.SUCCESS;
    });
    c.start();
    Keyed.eventually("the last message of each of " + expected.size() + " keys", () -> {
      Map<String, Integer> now = new TreeMap<>(seen);
      return now.entrySet().containsAll(expected.entrySet()) ? true : null;
    });
    c.shutdown();
    System.out.println("the last message of each of " + expected.size() + " keys");
  }

  static void offsets(String topic) throws Exception {
    DefaultMQPullConsumer c = Keyed.puller("compacted_offsets");
    for (MessageQueue q : Keyed.queues(Keyed.producer("route"), topic)) {
      PullResult end = c.pull(q, "*", c.maxOffset(q), 1);
      PullResult beyond = c.pull(q, "*", c.maxOffset(q) + 5, 1);
      PullResult first = c.pull(q, "*", 0, 1);
      System.out.println("queue " + q.getQueueId() + " min=" + c.minOffset(q) + " max=" + c.maxOffset(q)
          + " first=" + first.getPullStatus() + "," + first.getMinOffset() + "," + first.getMaxOffset() + "," + first.getNextBeginOffset()
          + " end=" + end.getPullStatus() + "," + end.getMinOffset() + "," + end.getMaxOffset()
          + " beyond=" + beyond.getPullStatus() + "," + beyond.getNextBeginOffset()
          + " at0=" + c.searchOffset(q, 0) + " now=" + c.searchOffset(q, System.currentTimeMillis()));
    }
  }

  static void expire(String broker) throws Exception {
    DefaultMQAdminExt admin = Verbs.admin();
    Verbs.check(admin.deleteExpiredCommitLogByAddr(broker), "the broker refuses to delete");
    System.out.println("old files may go");
  }
}
