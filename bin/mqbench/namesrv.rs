//! `mqbench namesrv`: what a NameServer does with the registrations of many brokers and the questions of
//! many clients. The brokers are connections of this process that say what brokers say.

use std::time::{Duration, Instant};

use callboard::{
    client::{RemotingClient, RemotingConfig},
    protocol::{
        RemotingCommand, RequestCode,
        body::{
            DataVersion,
            register_broker::{RegisterBrokerBody, body_crc32},
            topic_config::{TopicConfig, TopicConfigAndMappingSerializeWrapper},
        },
        fastjson,
        header::namesrv::{GetRouteInfoRequestHeader, RegisterBrokerRequestHeader},
    },
};
use clap::Args;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use serde_json::json;

use crate::process;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Registrations on the way at the same time.
const AT_ONCE: usize = 16;

#[derive(Debug, Args)]
pub(super) struct Namesrv {
    /// NameServer, `host:port`.
    #[arg(long, env = "NAMESRV_ADDR")]
    namesrv: String,
    /// Brokers, half of them slaves of the others.
    #[arg(long, default_value_t = 1000)]
    brokers: usize,
    /// Topics in all.
    #[arg(long, default_value_t = 100_000)]
    topics: usize,
    /// Masters that each topic has queues on.
    #[arg(long, default_value_t = 4)]
    masters_per_topic: usize,
    /// Seconds of questions for routes, without registrations.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Process of the NameServer: adds its processor time and memory.
    #[arg(long)]
    server_pid: Option<u32>,
}

struct Broker {
    client: RemotingClient,
    request: RemotingCommand,
    len: usize,
}

impl Broker {
    fn new(args: &Namesrv, number: usize) -> Result<Self, String> {
        let masters = (args.brokers / 2).max(1);
        let (master, id) = (number % masters, number / masters);
        // A topic's masters are neighbours: so every broker has the same number of topics.
        let mine = (0..args.topics).filter(|topic| {
            let first = topic % masters;
            (master + masters - first) % masters < args.masters_per_topic
        });
        let topics = mine.map(|topic| {
            let name = topic_name(topic);
            (name.clone(), TopicConfig::new(&name, 8, 6))
        });
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
                data_version: DataVersion::at(1),
                topic_config_table: topics.collect(),
                ..Default::default()
            },
            ..Default::default()
        };
        let body = fastjson::to_vec(&body).map_err(|error| error.to_string())?;
        let port = 10_000 + number;
        let header = RegisterBrokerRequestHeader {
            broker_name: format!("broker-{master}").into(),
            broker_addr: format!("10.0.{}.{}:{port}", number / 250, number % 250).into(),
            cluster_name: "DefaultCluster".into(),
            ha_server_addr: format!("10.0.{}.{}:{}", number / 250, number % 250, port + 1).into(),
            broker_id: id as i64,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: body_crc32(&body),
        };
        Ok(Self {
            client: RemotingClient::new(RemotingConfig::default()),
            len: body.len(),
            request: RemotingCommand::request(RequestCode::RegisterBroker, &header).with_body(body),
        })
    }

    async fn register(&self, namesrv: &str) -> Result<(), String> {
        let answer = self.client.ask(namesrv, self.request.clone(), PATIENCE);
        answer.await.map(drop).map_err(|error| error.to_string())
    }
}

fn topic_name(number: usize) -> String {
    format!("Topic-of-a-usual-name-{number}")
}

/// All brokers once; the bytes of their bodies.
async fn register_all(args: &Namesrv, brokers: &[Broker]) -> Result<usize, String> {
    for some in brokers.chunks(AT_ONCE) {
        let answers = join_all(some.iter().map(|broker| broker.register(&args.namesrv))).await;
        answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    Ok(brokers.iter().map(|broker| broker.len).sum())
}

/// Runs the measurement and prints one line of JSON.
pub(super) async fn run(args: &Namesrv) -> Result<(), String> {
    let brokers = (0..args.brokers).map(|number| Broker::new(args, number));
    let brokers = brokers.collect::<Result<Vec<_>, _>>()?;
    let reading = || args.server_pid.and_then(process::read);
    let spent = |before: Option<process::Reading>, count: u64| {
        let (pid, before) = (args.server_pid?, before?);
        Some(process::read(pid)?.since(&before, count, pid))
    };

    let (before, begun) = (reading(), Instant::now());
    let bytes = register_all(args, &brokers).await?;
    let first = (begun.elapsed(), spent(before, brokers.len() as u64));

    // What comes every thirty seconds from each broker: the same once more.
    let (before, begun) = (reading(), Instant::now());
    register_all(args, &brokers).await?;
    let again = (begun.elapsed(), spent(before, brokers.len() as u64));

    let client = RemotingClient::new(RemotingConfig::default());
    let mut answer_us = Histogram::<u64>::new(3).map_err(|error| error.to_string())?;
    let (before, begun) = (reading(), Instant::now());
    let (mut routes, mut route_bytes) = (0_u64, 0_u64);
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        // Steps of a prime: far from each other, and all of them in time.
        let topic = (routes as usize).wrapping_mul(7919) % args.topics.max(1);
        let header = GetRouteInfoRequestHeader {
            topic: topic_name(topic).into(),
            ..Default::default()
        };
        let request = RemotingCommand::request(RequestCode::GetRouteinfoByTopic, &header);
        let asked = Instant::now();
        let answer = client.ask(&args.namesrv, request, PATIENCE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer_us.saturating_record(asked.elapsed().as_micros() as u64);
        route_bytes += answer.body.len() as u64;
        routes += 1;
    }
    let asked = (begun.elapsed(), spent(before, routes.max(1)));
    let line = json!({
        "brokers": args.brokers,
        "topics": args.topics,
        "masters_per_topic": args.masters_per_topic,
        "registration_bytes": bytes / args.brokers.max(1),
        "first_registrations": { "seconds": first.0.as_secs_f64(), "server_each": first.1 },
        "registrations_again": { "seconds": again.0.as_secs_f64(), "server_each": again.1 },
        "routes": {
            "per_second": routes as f64 / asked.0.as_secs_f64(),
            "bytes_each": route_bytes / routes.max(1),
            "p50_us": answer_us.value_at_quantile(0.5),
            "p99_us": answer_us.value_at_quantile(0.99),
            "max_us": answer_us.max(),
            "server_each": asked.1,
        },
    });
    println!("{line}");
    Ok(())
}
