//! The kinds of messages and consumers, each from its producer to its consumer through our own client:
//! what matters is what the server spends, and both servers get the same requests.
//!
//! | kind | a message is | measured |
//! | --- | --- | --- |
//! | `transactions` | prepared, and two of three are committed, one is rolled back | from the first half message until all committed ones are in the topic |
//! | `timed` | sent for a time some seconds ahead | from the first send until all are in the topic; `e2e` is lateness |
//! | `pop` | popped in 32s and acknowledged one by one | draining what was sent before |
//! | `sql` | one of a hundred that fits an expression | draining what was sent before, counted with what does not fit |
//! | `orderly` | consumed under queue locks | draining what was sent before |

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use callboard::client::consumer::{Expression, PullStatus};
use callboard::client::{
    ClientConfig, ClientError, ConsumeFrom, ConsumeOutcome, Message, MessageExt, MqClient,
    PopConsumer, PopOptions, Producer, PullConsumer, PushConsumer, TransactionListener,
    TransactionOutcome, TransactionProducer,
};
use clap::ValueEnum;
use futures_util::future::{BoxFuture, try_join_all};

use crate::control::{Control, Limits};
use crate::report::{Latency, Tally};
use crate::route::Use;
use crate::setup::now_ms;
use crate::{Kinds, runs};

/// Property that the expression of `sql` looks at.
const NUMBER: &str = "number";
/// How far ahead timed messages are sent at least; the rest comes from --spread.
const AHEAD_MS: i64 = 2_000;
/// How often a topic's length is asked while messages are awaited.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A run in which nothing happens for so long has failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Half messages and their ends.
    Transactions,
    /// Messages for a time.
    Timed,
    /// Pops and acknowledgements.
    Pop,
    /// SQL92 filters.
    Sql,
    /// Orderly consumption.
    Orderly,
}

struct Bench {
    args: Kinds,
    client: MqClient,
    control: Rc<Control>,
    tally: RefCell<Tally>,
}

/// Runs one kind and prints its report.
pub(super) async fn run(args: Kinds) -> Result<(), String> {
    let common = &args.common;
    let finder = callboard::client::RemotingClient::default();
    runs::targets(&finder, common, Use::Send).await?;
    finder.shut_down();
    let namesrv = common.namesrv.clone().ok_or("--namesrv is needed")?;
    let client = MqClient::start(ClientConfig::new(&namesrv)).map_err(text)?;
    let limits = Limits {
        // What comes first is no part of the measurement: each kind says when that begins.
        warm_up: Duration::MAX,
        ..common.limits()
    };
    let bench = Bench {
        control: Control::new(limits, common.server_pid),
        client,
        args,
        tally: RefCell::default(),
    };
    let measured = match bench.args.kind {
        Kind::Transactions => bench.transactions().await,
        Kind::Timed => bench.timed().await,
        Kind::Pop => bench.pop().await,
        Kind::Sql => bench.sql().await,
        Kind::Orderly => bench.orderly().await,
    };
    let late = measured.map_err(text)?;
    bench.client.shut_down().await;
    let mut report = bench.control.report("kind", &bench.tally.borrow())?;
    report.end_to_end = late.map(|late| Latency::of(&late.latency));
    report.print(bench.args.common.json, &bench.args.common.label);
    Ok(())
}

fn text(error: ClientError) -> String {
    error.to_string()
}

impl Bench {
    fn count(&self) -> u64 {
        self.args.common.count.unwrap_or(100_000)
    }

    fn topic(&self) -> &str {
        &self.args.common.topic
    }

    /// Measures from here on what the server spends.
    fn begin(&self) {
        self.control.measure();
    }

    fn end(&self, messages: u64, tally: Tally) {
        self.control.finish(Instant::now());
        let mut total = self.tally.borrow_mut();
        total.merge(&tally);
        total.messages = messages;
    }

    /// Runs `work` for each number from so many tasks; the latencies of all.
    async fn by_senders(
        &self,
        work: impl AsyncFn(u64) -> Result<(), ClientError>,
    ) -> Result<Tally, ClientError> {
        let next = AtomicU64::new(0);
        let one = async || {
            let mut tally = Tally::default();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= self.count() {
                    return Ok::<_, ClientError>(tally);
                }
                let begin = Instant::now();
                work(number).await?;
                let took = begin.elapsed().as_micros() as u64;
                tally.latency.saturating_record(took.max(1));
                tally.requests += 1;
            }
        };
        let mut total = Tally::default();
        for tally in try_join_all((0..self.args.senders).map(|_| one())).await? {
            total.merge(&tally);
        }
        Ok(total)
    }

    fn message(&self, number: u64) -> Message {
        Message::new(self.topic(), vec![b'x'; self.args.body])
            .with_property(NUMBER, (number % 100).to_string())
    }

    /// Sends what is drained later, in batches.
    async fn fill(&self) -> Result<(), ClientError> {
        let producer = Producer::new(&self.client, "mqbench_producer")?;
        let batches = self.count() / 100;
        let next = AtomicU64::new(0);
        let one = async || {
            while next.fetch_add(1, Relaxed) < batches {
                let batch = (0..100).map(|number| self.message(number)).collect();
                producer.send_batch(batch).await?;
            }
            Ok::<_, ClientError>(())
        };
        try_join_all((0..8).map(|_| one())).await?;
        self.wait_for(batches * 100).await
    }

    /// Waits until so many messages are in the topic.
    async fn wait_for(&self, messages: u64) -> Result<(), ClientError> {
        let consumer = PullConsumer::new(&self.client, "mqbench_looker")?;
        let mut last = (0, Instant::now());
        loop {
            let mut found = 0;
            for queue in consumer.queues(self.topic()).await? {
                found += consumer.max_offset(&queue).await?.max(0) as u64;
            }
            if found >= messages {
                return Ok(());
            }
            if found > last.0 {
                last = (found, Instant::now());
            }
            if last.1.elapsed() > STUCK_AFTER {
                let reason = format!("{found} of {messages} messages came");
                return Err(ClientError::Invalid(reason));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn transactions(&self) -> Result<Option<Tally>, ClientError> {
        struct Listener;
        impl TransactionListener for Listener {
            fn execute<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, TransactionOutcome> {
                let number = message.property(NUMBER).unwrap_or_default();
                let outcome = match number.parse::<u64>().unwrap_or(0) % 3 {
                    2 => TransactionOutcome::Rollback,
                    _ => TransactionOutcome::Commit,
                };
                Box::pin(std::future::ready(outcome))
            }

            fn check<'a>(&'a self, _: &'a MessageExt) -> BoxFuture<'a, TransactionOutcome> {
                Box::pin(std::future::ready(TransactionOutcome::Commit))
            }
        }
        let (client, group) = (&self.client, "mqbench_transactions");
        let producer = TransactionProducer::new(client, group, Arc::new(Listener))?;
        self.begin();
        let committed = AtomicU64::new(0);
        let tally = self
            .by_senders(async |number| {
                let (_, outcome) = producer.send(self.message(number)).await?;
                let is_commit = outcome == TransactionOutcome::Commit;
                committed.fetch_add(u64::from(is_commit), Relaxed);
                Ok(())
            })
            .await?;
        self.wait_for(committed.load(Relaxed)).await?;
        self.end(self.count(), tally);
        Ok(None)
    }

    async fn timed(&self) -> Result<Option<Tally>, ClientError> {
        let producer = Producer::new(&self.client, "mqbench_producer")?;
        let spread = (self.args.spread * 1000.0) as i64;
        self.begin();
        let tally = self
            .by_senders(async |number| {
                let ahead = AHEAD_MS + (number as i64 * 7919) % spread.max(1);
                let message = self.message(number).with_deliver_time_ms(now_ms() + ahead);
                producer.send(message).await.map(drop)
            })
            .await?;
        self.wait_for(self.count()).await?;
        self.end(self.count(), tally);
        self.lateness().await.map(Some)
    }

    /// How much later than asked for the messages of the topic were stored, in µs.
    async fn lateness(&self) -> Result<Tally, ClientError> {
        let mut late = Tally::default();
        let consumer = PullConsumer::new(&self.client, "mqbench_looker")?;
        for queue in consumer.queues(self.topic()).await? {
            let mut offset = 0;
            loop {
                let pulled = consumer
                    .pull(&queue, &Expression::all(), offset, 32)
                    .await?;
                for message in &pulled.messages {
                    let asked = message.property("TIMER_DELIVER_MS");
                    let asked = asked.and_then(|text| text.parse::<i64>().ok());
                    let Some(asked) = asked else { continue };
                    let ms = message.store_timestamp - asked;
                    if ms < 0 {
                        *late.errors.entry(-1).or_default() += 1;
                    }
                    late.latency
                        .saturating_record((ms.max(0) * 1000).max(1) as u64);
                }
                offset = pulled.next_offset;
                if pulled.status == PullStatus::NoNewMessage || offset >= pulled.max_offset {
                    break;
                }
            }
        }
        match late.errors.get(&-1) {
            None => Ok(late),
            Some(early) => Err(ClientError::Invalid(format!("{early} messages came early"))),
        }
    }

    async fn pop(&self) -> Result<Option<Tally>, ClientError> {
        self.fill().await?;
        let consumer = PopConsumer::new(&self.client, "mqbench_popper")?;
        let options = PopOptions {
            from: ConsumeFrom::FirstOffset,
            wait: Duration::from_millis(200),
            ..PopOptions::default()
        };
        let (taken, all) = (AtomicU64::new(0), self.count() / 100 * 100);
        let one = async || {
            let everything = Expression::all();
            while taken.load(Relaxed) < all {
                let popped = consumer.pop(self.topic(), &everything, options).await?;
                for message in &popped {
                    consumer.ack(message).await?;
                }
                taken.fetch_add(popped.len() as u64, Relaxed);
            }
            Ok::<_, ClientError>(())
        };
        self.begin();
        try_join_all((0..8).map(|_| one())).await?;
        self.end(all, Tally::default());
        Ok(None)
    }

    async fn sql(&self) -> Result<Option<Tally>, ClientError> {
        self.fill().await?;
        let consumer = PullConsumer::new(&self.client, "mqbench_looker")?;
        let expression = Expression::Sql92(format!("{NUMBER} = 7").into());
        let (found, all) = (AtomicU64::new(0), self.count() / 100 * 100);
        let queues = consumer.queues(self.topic()).await?;
        self.begin();
        let drain = async |queue| {
            let mut offset = 0;
            loop {
                let pulled = consumer.pull(queue, &expression, offset, 32).await?;
                found.fetch_add(pulled.messages.len() as u64, Relaxed);
                offset = pulled.next_offset.max(offset);
                if offset >= pulled.max_offset {
                    return Ok::<_, ClientError>(());
                }
            }
        };
        try_join_all(queues.iter().map(drain)).await?;
        self.end(all, Tally::default());
        match found.load(Relaxed) {
            found if found == all / 100 => Ok(None),
            found => Err(ClientError::Invalid(format!(
                "{found} messages fit, not {}",
                all / 100
            ))),
        }
    }

    async fn orderly(&self) -> Result<Option<Tally>, ClientError> {
        self.fill().await?;
        let (taken, all) = (Arc::new(AtomicU64::new(0)), self.count() / 100 * 100);
        self.begin();
        let counter = Arc::clone(&taken);
        let consumer = PushConsumer::builder("mqbench_orderly")
            .subscribe(self.topic(), "*")
            .from(ConsumeFrom::FirstOffset)
            .orderly()
            .consume_batch_max(32)
            .start(&self.client, move |messages| {
                counter.fetch_add(messages.len() as u64, Relaxed);
                std::future::ready(ConsumeOutcome::Success)
            })
            .await?;
        let begin = Instant::now();
        while taken.load(Relaxed) < all {
            if begin.elapsed() > STUCK_AFTER {
                let reason = format!("{} of {all} messages came", taken.load(Relaxed));
                return Err(ClientError::Invalid(reason));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.end(all, Tally::default());
        consumer.shut_down(Duration::from_secs(5)).await;
        Ok(None)
    }
}
