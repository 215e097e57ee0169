"""Ordinary messages by way of RocketMQ's C++ client, as the PyPI package `rocketmq` 0.4.4 brings it.

    ordinary.py NAMESRV TOPIC

Prints `ok CHECK` or `not ok CHECK: what was seen` for each check. The client's batches are not among them: of twenty messages
a Java broker stores one, too.
"""
import os
import sys
import threading
import time

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, SendStatus
from rocketmq.ffi import MessageModel

NAMESRV, TOPIC = sys.argv[1:]
RUN = str(os.getpid())
BIG = "z" * 100_000  # the client compresses what is over 4 KiB and sends 128 KiB at most


def check(name, good, seen=""):
    print(f"ok {name}" if good else f"not ok {name}: {seen}", flush=True)


def until(seconds, done):
    end = time.time() + seconds
    while not done() and time.time() < end:
        time.sleep(0.05)


def message(body, tag="A", **properties):
    made = Message(TOPIC)
    made.set_body(body)
    made.set_tags(tag)
    made.set_keys("key-" + body[:20])
    for name, value in properties.items():
        made.set_property(name, value)
    return made


class Received:
    """What a push consumer got; a message with the body `fail` is refused until its third delivery."""

    def __init__(self, name, expression, **options):
        self.messages, self.lock = [], threading.Lock()
        self.consumer = PushConsumer(name + RUN, **options)
        self.consumer.set_namesrv_addr(NAMESRV)
        self.consumer.set_instance_name(name + str(time.time_ns()))
        self.consumer.subscribe(TOPIC, self.take, expression)
        self.consumer.start()

    def take(self, got):
        seen = {
            "body": got.body.decode(), "tag": got.tags, "keys": got.keys, "queue": got.queue_id, "at": time.time(),
            "offset": got.queue_offset, "times": got.reconsume_times, "color": got.get_property("color"),
        }
        with self.lock:
            self.messages.append(seen)
        if seen["body"] == "fail" and seen["times"] < 2:
            raise ValueError("wanted: this message comes again")

    def of(self, prefix):
        with self.lock:
            return [seen for seen in self.messages if seen["body"].startswith(prefix)]

    def bodies(self, prefix=""):
        return sorted(seen["body"] for seen in self.of(prefix))


def only(wanted, bodies):
    wanted = set(wanted)
    return sorted(body for body in bodies if body in wanted)


def names(prefix, count):
    return sorted(f"{prefix}{number}" for number in range(count))


producer = Producer("producer" + RUN)
producer.set_namesrv_addr(NAMESRV)
producer.start()
born = producer.send_sync(message("born"))  # the topic's route has to be there before consumers start
check("send sync", born.status == SendStatus.OK and born.msg_id, born)

clustering = Received("clustering", "A || B")
broadcast = Received("broadcast", "*", message_model=MessageModel.BROADCASTING)


def reach_every_queue(body, *consumers):
    """Sends messages with that body until each consumer has got one from each of the topic's four queues."""

    def reached():
        producer.send_sync(message(body))
        return all(len({seen["queue"] for seen in consumer.of(body)}) >= 4 for consumer in consumers)

    until(60, reached)


reach_every_queue("probe", clustering, broadcast)  # only what is sent to a queue that they have is theirs for certain

for body in names("sync-", 100):
    producer.send_sync(message(body))
    producer.send_sync(message("other-" + body, "C"))
for body in names("oneway-", 100):
    producer.send_oneway(message(body))
answers = []
for body in names("async-", 50):
    producer.send_async(message(body), lambda sent: answers.append(sent.status), lambda error: answers.append(error))
ordered = [producer.send_orderly(message(f"ordered-{number:02}", "B"), 2) for number in range(20)]
producer.send_sync(message("property", color="blue"))
producer.send_sync(message(BIG))
delayed = message("delayed")
delayed.set_delay_time_level(2)
sent_at = time.time()
producer.send_sync(delayed)
producer.send_sync(message("fail"))

until(20, lambda: len(answers) == 50)
check("send async", answers == [SendStatus.OK] * 50, answers)
until(30, lambda: len(clustering.of("oneway-")) >= 100 and clustering.of("delayed") and broadcast.of(BIG))
check("sync messages with one of two tags", clustering.bodies("sync-") == names("sync-", 100), len(clustering.of("sync-")))
check("no message with another tag", not clustering.of("other-"), clustering.of("other-")[:1])
check("one-way messages", clustering.bodies("oneway-") == names("oneway-", 100), len(clustering.of("oneway-")))
check("async messages", clustering.bodies("async-") == names("async-", 50), len(clustering.of("async-")))
rising = [sent.offset for sent in ordered]
in_order = [(seen["offset"], seen["queue"]) for seen in sorted(clustering.of("ordered-"), key=lambda seen: seen["body"])]
check(
    "a selected queue keeps its order",
    rising == list(range(rising[0], rising[0] + 20)) and in_order == [(offset, in_order[0][1]) for offset in rising],
    (rising, in_order),
)
check("properties", [seen["color"] for seen in clustering.of("property")] == [b"blue"], clustering.of("property"))
check("keys", [seen["keys"] for seen in clustering.of("property")] == [b"key-property"], clustering.of("property"))
check("a compressed message", clustering.bodies("zzz") == [BIG], len(clustering.of("zzz")))
late = [seen["at"] - sent_at for seen in clustering.of("delayed")]
check("delay level 2", len(late) == 1 and late[0] > 4.5, late)
every = sorted(names("sync-", 100) + names("other-sync-", 100) + names("oneway-", 100) + names("async-", 50))
check("broadcasting gets every tag", only(every, broadcast.bodies()) == every, len(only(every, broadcast.bodies())))
until(70, lambda: len(clustering.of("fail")) >= 3)
check("a refused message comes again", [seen["times"] for seen in clustering.of("fail")] == [0, 1, 2], clustering.of("fail"))

puller = PullConsumer("puller" + RUN)
puller.set_namesrv_addr(NAMESRV)
puller.start()
pulled = only(every, [got.body.decode() for got in puller.pull(TOPIC)])
check("pull", pulled == every, len(pulled))
producer.send_sync(message("pulled", "P"))
producer.send_sync(message("not pulled", "Q"))
tagged = [got.body for got in puller.pull(TOPIC, "P")]
check("pull with a tag", tagged == [b"pulled"], tagged)

clustering.consumer.shutdown()
again = Received("clustering", "A || B")
reach_every_queue("after", again)  # what a queue has of older messages comes before
check("consumption goes on where it stood", set(again.bodies()) == {"after"}, again.bodies()[:3])

for client in (again.consumer, broadcast.consumer, puller, producer):
    client.shutdown()
os._exit(0)  # the client's threads do not always end
