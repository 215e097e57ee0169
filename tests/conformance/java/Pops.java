import java.io.FileWriter;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopMessageResponseHeader;

/**
 * Pops by the published remoting client, receipt by receipt, so that they can be in flight while one broker
 * hands its store to another.
 *
 * <pre>
 *   send TOPIC FROM TO QUEUES BROKER              messages "m FROM" ... before TO, in turns to the queues
 *   pop  TOPIC GROUP ADDR COUNT HIDDEN_MS FILE    pops COUNT messages; one line "text receipt" each into FILE
 *   ack  TOPIC GROUP ADDR FILE FROM TO            acknowledges these lines of FILE
 *   hide TOPIC GROUP ADDR FILE FROM TO HIDDEN_MS  hides these lines' messages for another time
 *   back TOPIC GROUP ADDR FILE FROM TO EXTRA      the messages of these lines come back; at most EXTRA others do
 * </pre>
 * NAMESRV_ADDR names the NameServer. Ends with 1 and a reason on the first difference.
 */
public class Pops {
  static NettyRemotingClient client;
  static String topic, group, addr;

  public static void main(String[] a) { Verbs.run(a, Pops::verb); }

  static void verb(String[] a) throws Exception {
    client = new NettyRemotingClient(new NettyClientConfig());
    client.start();
    topic = a[1];
    if (!a[0].equals("send")) { group = a[2]; addr = a[3]; }
    switch (a[0]) {
      case "send": send(num(a[2]), num(a[3]), num(a[4]), a[5]); break;
      case "pop": pop(num(a[4]), num(a[5]), a[6]); break;
      case "ack": for (String line : lines(a[4], num(a[5]), num(a[6]))) ack(receipt(line)); break;
      case "hide": for (String line : lines(a[4], num(a[5]), num(a[6]))) hide(receipt(line), num(a[7])); break;
      case "back": back(lines(a[4], num(a[5]), num(a[6])), num(a[7])); break;
      default: throw new IllegalArgumentException(a[0]);
    }
  }

  static int num(String text) { return Integer.parseInt(text); }

  static String receipt(String line) { return line.substring(line.indexOf(' ') + 1); }

  static List<String> lines(String file, int from, int to) throws Exception {
    return Files.readAllLines(Paths.get(file)).subList(from, to);
  }

  static void send(int from, int to, int queues, String broker) throws Exception {
    DefaultMQProducer producer = new DefaultMQProducer("pops_producer");
    producer.setNamesrvAddr(Verbs.NS);
    producer.start();
    for (int i = from; i < to; i++) {
      byte[] body = ("m" + i).getBytes(StandardCharsets.UTF_8);
      producer.send(new Message(topic, "tag", "k" + i, body), new MessageQueue(topic, broker, i % queues), 10000);
    }
    producer.shutdown();
    System.out.println("sent " + (to - from));
  }

  static RemotingCommand call(RemotingCommand request) throws Exception {
    return client.invokeSync(addr, request, 40000);
  }

  /** Messages with POP_CK set, as MQClientAPIImpl.processPopResponse sets it. */
  static List<MessageExt> popOnce(int max, long hidden, long poll) throws Exception {
    PopMessageRequestHeader header = new PopMessageRequestHeader();
    header.setConsumerGroup(group);
    header.setTopic(topic);
    header.setQueueId(-1);
    header.setMaxMsgNums(max);
    header.setInvisibleTime(hidden);
    header.setPollTime(poll);
    header.setBornTime(System.currentTimeMillis());
    header.setInitMode(0);
    header.setExpType("TAG");
    header.setExp("*");
    RemotingCommand answer = call(RemotingCommand.createRequestCommand(RequestCode.POP_MESSAGE, header));
    List<MessageExt> messages = new ArrayList<>();
    if (answer.getCode() != 0) {
      Verbs.check(answer.getCode() == 210, "pop: " + answer.getCode() + " " + answer.getRemark());
      return messages;
    }
    PopMessageResponseHeader told = (PopMessageResponseHeader) answer.decodeCommandCustomHeader(PopMessageResponseHeader.class);
    Map<String, Long> starts = ExtraInfoUtil.parseStartOffsetInfo(told.getStartOffsetInfo());
    for (MessageExt message : MessageDecoder.decodesBatch(ByteBuffer.wrap(answer.getBody()), true, true, true)) {
      if (message.getProperty(MessageConst.PROPERTY_POP_CK) == null) {
        long start = starts.get(ExtraInfoUtil.getStartOffsetInfoMapKey(message.getTopic(), message.getQueueId()));
        message.getProperties().put(MessageConst.PROPERTY_POP_CK, ExtraInfoUtil.buildExtraInfo(start, told.getPopTime(),
            told.getInvisibleTime(), told.getReviveQid(), message.getTopic(), "broker-a", message.getQueueId(), message.getQueueOffset()));
      }
      messages.add(message);
    }
    return messages;
  }

  static String text(MessageExt message) { return new String(message.getBody(), StandardCharsets.UTF_8); }

  static void pop(int count, int hidden, String file) throws Exception {
    int got = 0;
    try (PrintWriter out = new PrintWriter(new FileWriter(file))) {
      long deadline = System.currentTimeMillis() + 60000;
      while (got < count) {
        Verbs.check(System.currentTimeMillis() < deadline, "popped " + got + " of " + count);
        for (MessageExt message : popOnce(count - got, hidden, 1000)) {
          out.println(text(message) + " " + message.getProperty(MessageConst.PROPERTY_POP_CK));
          got++;
        }
      }
    }
    System.out.println("popped " + got);
  }

  static void ack(String receipt) throws Exception {
    String[] parts = ExtraInfoUtil.split(receipt);
    AckMessageRequestHeader header = new AckMessageRequestHeader();
    header.setConsumerGroup(group);
    header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
    header.setQueueId(ExtraInfoUtil.getQueueId(parts));
    header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
    header.setExtraInfo(receipt);
    RemotingCommand answer = call(RemotingCommand.createRequestCommand(RequestCode.ACK_MESSAGE, header));
    Verbs.check(answer.getCode() == 0, "ack: " + answer.getCode() + " " + answer.getRemark());
  }

  static void hide(String receipt, int hidden) throws Exception {
    String[] parts = ExtraInfoUtil.split(receipt);
    ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
    header.setConsumerGroup(group);
    header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
    header.setQueueId(ExtraInfoUtil.getQueueId(parts));
    header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
    header.setExtraInfo(receipt);
    header.setInvisibleTime((long) hidden);
    RemotingCommand answer = call(RemotingCommand.createRequestCommand(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, header));
    Verbs.check(answer.getCode() == 0, "hide: " + answer.getCode() + " " + answer.getRemark());
  }

  static void back(List<String> wanted, int extra) throws Exception {
    TreeSet<String> missing = new TreeSet<>(), others = new TreeSet<>();
    for (String line : wanted) missing.add(line.substring(0, line.indexOf(' ')));
    TreeSet<String> expected = new TreeSet<>(missing);
    int again = 0;
    long deadline = System.currentTimeMillis() + 90000, quiet = 0;
    // A while longer, for what must not come.
    while (!missing.isEmpty() || System.currentTimeMillis() < quiet) {
      Verbs.check(System.currentTimeMillis() < deadline, "never came back: " + missing);
      for (MessageExt message : popOnce(32, 60000, 1000)) {
        String text = text(message);
        if (!expected.contains(text)) others.add(text);
        else if (!missing.remove(text)) again++;
        if (!expected.contains(text) || message.getReconsumeTimes() > 0)
          Verbs.check(message.getReconsumeTimes() > 0 || extra > 0, text + " was popped as if for the first time");
        ack(message.getProperty(MessageConst.PROPERTY_POP_CK));
      }
      if (missing.isEmpty() && quiet == 0) quiet = System.currentTimeMillis() + 6000;
    }
    System.out.println("back: " + expected.size() + " expected, twice " + again + ", others " + others);
    Verbs.check(others.size() <= extra, "came back although acknowledged: " + others);
  }
}
