import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.ConsumeQueueData;
import org.apache.rocketmq.remoting.protocol.body.QueryConsumeQueueResponseBody;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Consumers with SQL92 expressions on a broker that writes bit maps of filters (enableConsumeQueueExt,
 * enableCalcFilterBitMap).
 *
 * <pre>
 *   leg  TOPIC FROM TO FOLDER BROKER   three groups come, messages FROM ... before TO are sent and each group gets its
 *                                      own; what it got is added to FOLDER/GROUP
 *   maps TOPIC COUNT ADDR FILE         the bit maps and tags codes of the first COUNT entries, as the broker tells them,
 *                                      into FILE: a line each that brokers have to agree on
 * </pre>
 * NAMESRV_ADDR names the NameServer. Ends with 1 and a reason on the first difference.
 */
public class FilterMaps {
  static final Map<String, MessageSelector> GROUPS = Map.of(
      "maps_three", MessageSelector.bySql("m = 3"),
      "maps_low", MessageSelector.bySql("m BETWEEN 0 AND 4 AND TAGS IS NOT NULL"),
      "maps_tag", MessageSelector.byTag("t1 || t2"));

  public static void main(String[] a) { Verbs.run(a, FilterMaps::verb); }

  static void verb(String[] a) throws Exception {
    switch (a[0]) {
      case "leg": leg(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]), Paths.get(a[4]), a[5]); break;
      case "maps": maps(a[1], Integer.parseInt(a[2]), a[3], Paths.get(a[4])); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static boolean wants(String group, int n) {
    switch (group) {
      case "maps_three": return n % 10 == 3;
      case "maps_low": return n % 10 <= 4;
      default: return n % 4 == 1 || n % 4 == 2;
    }
  }

  static DefaultMQPushConsumer consumer(String topic, String group, ConcurrentSkipListSet<Integer> got) throws Exception {
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
    consumer.setNamesrvAddr(Verbs.NS);
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.subscribe(topic, GROUPS.get(group));
    consumer.registerMessageListener((org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently) (messages, context) -> {
      messages.forEach(m -> got.add(Integer.parseInt(new String(m.getBody(), StandardCharsets.UTF_8))));
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    consumer.start();
    return consumer;
  }

  static void leg(String topic, int from, int to, Path folder, String broker) throws Exception {
    Map<String, ConcurrentSkipListSet<Integer>> got = new HashMap<>();
    List<DefaultMQPushConsumer> consumers = new ArrayList<>();
    for (String group : GROUPS.keySet()) {
      got.put(group, new ConcurrentSkipListSet<>());
      consumers.add(consumer(topic, group, got.get(group)));
    }
    // Expressions are known for so long that bit maps tell of them.
    Thread.sleep(3000);
    DefaultMQProducer producer = new DefaultMQProducer("maps_producer");
    producer.setNamesrvAddr(Verbs.NS);
    producer.start();
    for (int n = from; n < to; n++) {
      Message message = new Message(topic, "t" + n % 4, Integer.toString(n).getBytes(StandardCharsets.UTF_8));
      message.putUserProperty("m", Integer.toString(n % 10));
      producer.send(message, new MessageQueue(topic, broker, 0), 10000);
    }
    producer.shutdown();
    long end = System.currentTimeMillis() + 60000;
    for (String group : GROUPS.keySet()) {
      TreeSet<Integer> all = new TreeSet<>();
      for (int n = 0; n < to; n++) if (wants(group, n)) all.add(n);
      Path file = folder.resolve(group);
      TreeSet<Integer> seen = new TreeSet<>();
      if (Files.exists(file)) for (String line : Files.readAllLines(file)) seen.add(Integer.parseInt(line));
      while (seen.size() < all.size() && System.currentTimeMillis() < end) {
        seen.addAll(got.get(group));
        Thread.sleep(50);
      }
      Verbs.check(seen.equals(all), group + " got " + seen.size() + " of " + all.size());
      List<String> lines = new ArrayList<>();
      for (int n : got.get(group)) lines.add(Integer.toString(n));
      Files.write(file, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
    for (DefaultMQPushConsumer consumer : consumers) consumer.shutdown();
    System.out.println("sent " + (to - from));
  }

  static void maps(String topic, int count, String addr, Path file) throws Exception {
    ConcurrentSkipListSet<Integer> got = new ConcurrentSkipListSet<>();
    DefaultMQPushConsumer online = consumer(topic, "maps_three", got);
    Thread.sleep(3000);
    DefaultMQAdminExt admin = new DefaultMQAdminExt();
    admin.setNamesrvAddr(Verbs.NS);
    admin.setInstanceName("maps_admin");
    admin.start();
    List<String> lines = new ArrayList<>();
    int none = 0, eval = 0;
    while (lines.size() < count) {
      QueryConsumeQueueResponseBody body = admin.queryConsumeQueue(addr, topic, 0, lines.size(), 30, "maps_three");
      Verbs.check(body.getQueueData() != null && !body.getQueueData().isEmpty(), "no entries at " + lines.size());
      for (ConsumeQueueData entry : body.getQueueData()) {
        int n = lines.size();
        if (entry.getBitMap() == null) none++;
        if (entry.isEval()) eval++;
        // An expression that is true for a message is never left out.
        Verbs.check(entry.getExtendDataJson() == null || entry.isEval() || !wants("maps_three", n), "eval of " + n);
        String json = entry.getExtendDataJson();
        String told = json == null ? "none" : json.replaceAll("\"msgStoreTime\":\\d+", "\"msgStoreTime\":0");
        String map = entry.getBitMap() == null ? "none" : entry.getBitMap().replace("\n", "/");
        lines.add(n + " " + entry.getTagsCode() + " " + map + " " + told + " " + entry.getMsg() + " " + entry.isEval());
      }
    }
    Files.write(file, lines.subList(0, count));
    System.out.println("entries=" + count + " without a bit map=" + none + " that may match=" + eval);
    admin.shutdown();
    online.shutdown();
  }
}
