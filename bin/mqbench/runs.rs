//! The modes: what runs together, for how long, and what is printed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use callboard::client::RemotingClient;
use callboard::protocol::{RemotingCommand, RequestCode};

use crate::control::{Control, Limits};
use crate::report::{self, Latency, Tally};
use crate::route::{self, Use};
use crate::setup::{self, Shape, Target};
use crate::{Common, Consume, Idle, Produce, Wait, consume, openloop, produce};

/// Counters of different connections start this far apart.
const COUNTER_STRIDE: u64 = 1 << 40;

/// The queues of the topic or topics; they are made where they are not there.
pub async fn targets(
    client: &RemotingClient,
    common: &Common,
    usage: Use,
) -> Result<Vec<Target>, String> {
    let mut found = Vec::new();
    for topic in common.topics() {
        match (&common.broker, &common.namesrv) {
            (Some(addr), _) => {
                found.extend((0..common.queues.unwrap_or(1)).map(|queue_id| Target {
                    topic: topic.clone(),
                    addr: addr.clone(),
                    broker: "broker-a".into(),
                    queue_id,
                }))
            }
            (None, Some(namesrv)) => {
                let of_topic = route::targets(client, namesrv, &topic, common.queues, usage);
                found.extend(of_topic.await?);
            }
            (None, None) => {}
        }
    }
    if found.is_empty() {
        return Err(format!(
            "topic {} has no queue that can be used",
            common.topic
        ));
    }
    Ok(found)
}

fn by_addr(targets: Vec<Target>) -> BTreeMap<String, Vec<Target>> {
    let mut map: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    for target in targets {
        map.entry(target.addr.clone()).or_default().push(target);
    }
    map
}

fn shape(args: &Produce) -> Shape {
    Shape {
        body: args.body,
        batch: args.batch.max(1),
        serialize: args.common.serialize_type(),
        keys: args.keys,
    }
}

/// Closed-loop sending.
pub async fn produce(args: Produce) -> Result<(), String> {
    let client = RemotingClient::default();
    let brokers = by_addr(targets(&client, &args.common, Use::Send).await?);
    client.shut_down();
    let shape = shape(&args);
    let prefix = setup::run_prefix();
    let connections = args.common.connections.max(1) * brokers.len();
    let control = Control::new(args.common.limits(), args.common.server_pid);
    let total = Rc::new(RefCell::new(Tally::default()));
    let mut tasks = Vec::new();
    for (addr, targets) in &brokers {
        let templates: Vec<_> = targets
            .iter()
            .map(|target| setup::send_template(&shape, target, &prefix))
            .collect();
        let templates = Rc::new(templates);
        for _ in 0..args.common.connections.max(1) {
            let index = tasks.len();
            let in_flight = match args.senders {
                Some(senders) => senders / connections + usize::from(index < senders % connections),
                None => args.window,
            };
            if in_flight == 0 {
                continue;
            }
            let load = produce::Load {
                addr: addr.clone(),
                templates: templates.clone(),
                in_flight,
                batch: shape.batch as u64,
                body_len: (shape.batch * shape.body) as u64,
                write_each: args.senders.is_some(),
                first_counter: index as u64 * COUNTER_STRIDE,
            };
            let run = produce::run(load, control.clone(), total.clone());
            tasks.push(tokio::task::spawn_local(run));
        }
    }
    control.keep_time().await;
    for task in tasks {
        task.await.map_err(|error| error.to_string())?;
    }
    control
        .report("produce", &total.borrow())?
        .print(args.common.json, &args.common.label);
    Ok(())
}

/// Open-loop sending.
pub async fn open_loop(args: Produce) -> Result<(), String> {
    let client = RemotingClient::default();
    let brokers = by_addr(targets(&client, &args.common, Use::Send).await?);
    let (tally, control) = run_open_loop(&args, &brokers, Instant::now(), false).await?;
    control
        .report("produce", &tally)?
        .print(args.common.json, &args.common.label);
    Ok(())
}

async fn run_open_loop(
    args: &Produce,
    brokers: &BTreeMap<String, Vec<Target>>,
    epoch: Instant,
    stamp_body: bool,
) -> Result<(Tally, Rc<Control>), String> {
    let shape = Shape {
        body: args.body.max(8),
        ..shape(args)
    };
    let prefix = setup::run_prefix();
    let limits = args.common.limits();
    let rate = args.rate.filter(|rate| *rate > 0.0).unwrap_or(1000.0);
    let seconds = match (limits.count, limits.duration) {
        (Some(count), _) => count as f64 / shape.batch as f64 / rate,
        (None, duration) => duration.unwrap_or(Duration::from_secs(10)).as_secs_f64(),
    };
    let duration = Duration::from_secs_f64(seconds);
    let connections = args.common.connections.max(1) * brokers.len();
    let measure_from = Instant::now() + limits.warm_up;
    let until = measure_from + duration;
    let mut threads = Vec::new();
    for (addr, targets) in brokers {
        for _ in 0..args.common.connections.max(1) {
            let load = openloop::OpenLoad {
                addr: addr.clone(),
                templates: targets
                    .iter()
                    .map(|target| setup::send_template(&shape, target, &prefix))
                    .collect(),
                rate: rate / connections as f64,
                batch: shape.batch as u64,
                body_len: (shape.batch * shape.body) as u64,
                first_counter: threads.len() as u64 * COUNTER_STRIDE,
                stamp_body,
                epoch,
                measure_from,
                until,
            };
            threads.push(tokio::task::spawn_blocking(move || openloop::run(load)));
        }
    }
    let limits = Limits {
        duration: Some(duration),
        count: None,
        ..limits
    };
    let control = Control::new(limits, args.common.server_pid);
    control.keep_time().await;
    let mut total = Tally::default();
    for thread in threads {
        total.merge(&thread.await.map_err(|error| error.to_string())??);
    }
    Ok((total, control))
}

/// Pulls from all queues.
pub async fn consume(args: Consume) -> Result<(), String> {
    let client = RemotingClient::default();
    let targets = targets(&client, &args.common, Use::Pull).await?;
    let cursors = cursors(&client, &args, targets).await?;
    let control = {
        let mut limits = args.common.limits();
        if args.common.duration.is_none() && !args.tail {
            // Draining ends with the queues.
            limits.duration = None;
        }
        Control::new(limits, args.common.server_pid)
    };
    let total = Rc::new(RefCell::new(Tally::default()));
    let tasks = start_pulling(cursors, args.common.connections, &control, &total, None);
    let time = {
        let control = control.clone();
        tokio::task::spawn_local(async move { control.keep_time().await })
    };
    for task in tasks {
        task.await.map_err(|error| error.to_string())?;
    }
    control.finish(Instant::now());
    time.await.map_err(|error| error.to_string())?;
    control
        .report("consume", &total.borrow())?
        .print(args.common.json, &args.common.label);
    Ok(())
}

type Cursors = BTreeMap<String, Vec<consume::Cursor>>;

async fn cursors(
    client: &RemotingClient,
    args: &Consume,
    targets: Vec<Target>,
) -> Result<Cursors, String> {
    let shape = Shape {
        body: 0,
        batch: 1,
        serialize: args.common.serialize_type(),
        keys: false,
    };
    let mut map = Cursors::new();
    for target in targets {
        let code = RequestCode::GetMaxOffset;
        let max = setup::queue_offset(client, &target, code).await?;
        let code = RequestCode::GetMinOffset;
        let min = setup::queue_offset(client, &target, code).await?;
        let (offset, end) = if args.tail {
            (max, i64::MAX)
        } else {
            (min, max)
        };
        let template = setup::pull_template(&shape, &target, &args.group, args.pull, args.tail);
        map.entry(target.addr).or_default().push(consume::Cursor {
            template,
            offset,
            end,
        });
    }
    Ok(map)
}

fn start_pulling(
    cursors: Cursors,
    connections: usize,
    control: &Rc<Control>,
    total: &Rc<RefCell<Tally>>,
    end_to_end: Option<(Instant, Rc<RefCell<Tally>>)>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let (epoch, tally) = end_to_end.unzip();
    let tally = tally.unwrap_or_default();
    let mut tasks = Vec::new();
    for (addr, cursors) in cursors {
        let connections = connections.clamp(1, cursors.len());
        let mut shares: Vec<Vec<consume::Cursor>> = vec![Vec::new(); connections];
        for (index, cursor) in cursors.into_iter().enumerate() {
            shares[index % connections].push(cursor);
        }
        for share in shares {
            let load = consume::Load {
                addr: addr.clone(),
                cursors: share,
                epoch,
                end_to_end: tally.clone(),
            };
            let run = consume::run(load, control.clone(), total.clone());
            tasks.push(tokio::task::spawn_local(run));
        }
    }
    tasks
}

/// Sends at a rate and consumes the same messages.
pub async fn latency(args: Produce) -> Result<(), String> {
    if args.batch > 1 {
        return Err("latency is measured with single messages, not with --batch".into());
    }
    let client = RemotingClient::default();
    let consume_args = Consume {
        common: args.common.clone(),
        group: "mqbench_consumer".into(),
        pull: 32,
        tail: true,
    };
    let read = targets(&client, &args.common, Use::Pull).await?;
    let cursors = cursors(&client, &consume_args, read).await?;
    let brokers = by_addr(targets(&client, &args.common, Use::Send).await?);
    let epoch = Instant::now();
    let pull_limits = Limits {
        warm_up: args.common.limits().warm_up,
        duration: Some(Duration::from_secs(24 * 3600)),
        count: None,
    };
    let pulling = Control::new(pull_limits, None);
    let end_to_end = Rc::new(RefCell::new(Tally::default()));
    let pulled = Rc::new(RefCell::new(Tally::default()));
    let watch = Some((epoch, end_to_end.clone()));
    let tasks = start_pulling(cursors, 1, &pulling, &pulled, watch);
    let time = {
        let pulling = pulling.clone();
        tokio::task::spawn_local(async move { pulling.keep_time().await })
    };
    let (tally, control) = run_open_loop(&args, &brokers, epoch, true).await?;
    // The last messages are still on their way to the consumer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    pulling.finish(Instant::now());
    time.abort();
    for task in tasks {
        task.abort();
    }
    let mut report = control.report("latency", &tally)?;
    report.end_to_end = Some(Latency::of(&end_to_end.borrow().latency));
    report.print(args.common.json, &args.common.label);
    Ok(())
}

/// Watches a server that has nothing to do.
pub async fn idle(args: Idle) -> Result<(), String> {
    let limits = Limits {
        warm_up: Duration::ZERO,
        duration: Some(Duration::from_secs_f64(args.duration)),
        count: None,
    };
    let control = Control::new(limits, Some(args.server_pid));
    control.keep_time().await;
    let report = control.report("idle", &Tally::default())?;
    let server = report.server.ok_or("the server cannot be watched")?;
    let mut line = serde_json::json!({
        "mode": report.mode,
        "seconds": report.seconds,
        "idle_cpu_ms_per_second": server.cpu_us as f64 / 1000.0 / report.seconds,
        "server": {
            "resident_kib": server.resident_kib,
            "anonymous_kib": server.anonymous_kib,
            "open_files": server.open_files,
        },
    });
    report::add_labels(&mut line, &args.label);
    println!("{line}");
    Ok(())
}

/// Waits until a server answers one request with success.
pub async fn wait(args: Wait) -> Result<(), String> {
    let begin = Instant::now();
    let limit = Duration::from_secs_f64(args.timeout);
    let code = RequestCode::from_code(args.code).ok_or("unknown request code")?;
    loop {
        let client = RemotingClient::default();
        let mut request = RemotingCommand::request_without_header(code);
        if let Some(topic) = &args.topic {
            request.ext_fields.insert("topic", topic);
        }
        if code == RequestCode::HeartBeat {
            request = request.with_body(
                r#"{"clientID":"mqbench","consumerDataSet":[],"producerDataSet":[]}"#.as_bytes(),
            );
        }
        if let Ok(answer) = client
            .call(&args.addr, request, Duration::from_secs(2))
            .await
            && answer.code == 0
        {
            println!("{}", begin.elapsed().as_millis());
            return Ok(());
        }
        if begin.elapsed() > limit {
            return Err(format!("{} did not answer within {limit:?}", args.addr));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
