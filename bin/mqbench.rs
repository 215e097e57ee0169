//! `mqbench`: a load generator for any RocketMQ broker, cheap enough to measure the server.
//!
//! ```text
//! mqbench produce --namesrv 127.0.0.1:9876 --topic B --queues 8 --window 256 --duration 10
//! mqbench produce ... --senders 64            closed loop, each request in a write of its own
//! mqbench produce ... --rate 1000             open loop
//! mqbench consume --namesrv ... --topic B --count 2000000
//! mqbench latency --namesrv ... --topic B --rate 1000
//! mqbench produce ... --topic B --topics 20 --queues 1000
//! mqbench sparse --store DIR --segments 100   a store of 100 GiB that takes a few MiB
//! mqbench evict DIR                           what is read from it next comes from the disk
//! mqbench disk DIR                            records a second, each written and synced
//! mqbench kind pop --namesrv ... --topic B --queues 8 --count 100000
//! mqbench namesrv --brokers 1000 --topics 100000
//! mqbench idle --server-pid 4711              what a server holds and spends
//! mqbench echo --listen 127.0.0.1:10911       the floor
//! ```
//!
//! `--server-pid` adds what the server spent, `--json` prints one line for scripts.

use std::process::ExitCode;
use std::time::Duration;

use callboard::protocol::SerializeType;
use clap::{Args, Parser, Subcommand, ValueEnum};

#[path = "mqbench/consume.rs"]
mod consume;
#[path = "mqbench/control.rs"]
mod control;
#[path = "mqbench/disk.rs"]
mod disk;
#[path = "mqbench/echo.rs"]
mod echo;
#[path = "mqbench/evict.rs"]
mod evict;
#[path = "mqbench/frames.rs"]
mod frames;
#[path = "mqbench/kinds.rs"]
mod kinds;
#[path = "mqbench/namesrv.rs"]
mod namesrv;
#[path = "mqbench/openloop.rs"]
mod openloop;
#[path = "mqbench/process.rs"]
mod process;
#[path = "mqbench/produce.rs"]
mod produce;
#[path = "mqbench/report.rs"]
mod report;
#[path = "mqbench/route.rs"]
mod route;
#[path = "mqbench/runs.rs"]
mod runs;
#[path = "mqbench/setup.rs"]
mod setup;
#[path = "mqbench/sparse.rs"]
mod sparse;
#[path = "mqbench/table.rs"]
mod table;

/// Measures RocketMQ brokers.
#[derive(Debug, Parser)]
#[command(name = "mqbench", version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Sends messages and measures rate and answer times.
    Produce(Produce),
    /// Pulls messages from every queue.
    Consume(Consume),
    /// Sends at a steady rate and measures the way to the answer and to a consumer.
    Latency(Produce),
    /// Answers sends with a canned SEND_OK and stores nothing.
    Echo(Echo),
    /// Waits until a server answers, and prints how many ms that took.
    Wait(Wait),
    /// Watches a server for a while: one line of JSON with what it holds and spends.
    Idle(Idle),
    /// Takes the files below a folder out of the page cache.
    Evict(Evict),
    /// Writes and syncs record by record: what the disk takes at best.
    Disk(Disk),
    /// Makes a store as if much had been stored: segments of few records and a hole.
    Sparse(sparse::Sparse),
    /// Measures one kind of messages or consumers, from producer to consumer.
    Kind(Kinds),
    /// Registers many brokers with a NameServer and asks it for routes.
    Namesrv(namesrv::Namesrv),
    /// Makes a markdown table of medians out of a file of JSON lines.
    Table(Table),
}

/// Where the broker is and what is measured.
#[derive(Debug, Clone, Args)]
struct Common {
    /// NameServer, `host:port`.
    #[arg(long, env = "NAMESRV_ADDR", required_unless_present = "broker")]
    namesrv: Option<String>,
    /// Broker, `host:port`, instead of asking a NameServer; needs --queues.
    #[arg(long, requires = "queues")]
    broker: Option<String>,
    /// Topic; created with --queues when it is not there.
    #[arg(long)]
    topic: String,
    /// So many topics, named after --topic with a number behind, instead of one.
    #[arg(long)]
    topics: Option<u32>,
    /// Queues of a topic that has to be created.
    #[arg(long)]
    queues: Option<u32>,
    /// Connections to each broker.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Header serialization.
    #[arg(long, value_enum, default_value_t = Serialize::Json)]
    serialize: Serialize,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 0.0)]
    warm_up: f64,
    /// Seconds that are counted.
    #[arg(long)]
    duration: Option<f64>,
    /// Messages that are counted.
    #[arg(long)]
    count: Option<u64>,
    /// Process of the server: adds its processor time, memory and writes.
    #[arg(long)]
    server_pid: Option<u32>,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
    /// `key=value`, added to the line of JSON; may be given more than once.
    #[arg(long, value_parser = label)]
    label: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[derive(Debug, Clone, Args)]
struct Produce {
    #[command(flatten)]
    common: Common,
    /// Requests on the way per connection, written together.
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Synchronous senders in all, each frame in a write of its own; instead of --window.
    #[arg(long, conflicts_with = "window")]
    senders: Option<usize>,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Messages in a request.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Requests per second in all (open loop).
    #[arg(long)]
    rate: Option<f64>,
    /// Adds a KEYS property to each message.
    #[arg(long)]
    keys: bool,
}

#[derive(Debug, Clone, Args)]
struct Consume {
    #[command(flatten)]
    common: Common,
    /// Consumer group.
    #[arg(long, default_value = "mqbench_consumer")]
    group: String,
    /// Messages asked for in one pull.
    #[arg(long, default_value_t = 32)]
    pull: u32,
    /// Starts at the end of each queue and waits for new messages, instead of draining it.
    #[arg(long)]
    tail: bool,
}

#[derive(Debug, Clone, Args)]
struct Kinds {
    /// What is measured.
    kind: kinds::Kind,
    #[command(flatten)]
    common: Common,
    /// Senders in all, each waiting for its answer.
    #[arg(long, default_value_t = 64)]
    senders: usize,
    /// Bytes of a message body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Seconds over which the times of timed messages are spread.
    #[arg(long, default_value_t = 10.0)]
    spread: f64,
}

#[derive(Debug, Clone, Args)]
struct Echo {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// Queues in the canned route.
    #[arg(long, default_value_t = 8)]
    queues: u32,
}

#[derive(Debug, Clone, Args)]
struct Wait {
    /// Address of the server.
    addr: String,
    /// Request code that has to be answered with success.
    #[arg(long, default_value_t = 34)]
    code: i32,
    /// Topic of the request, for codes that need one.
    #[arg(long)]
    topic: Option<String>,
    /// Seconds until giving up.
    #[arg(long, default_value_t = 60.0)]
    timeout: f64,
}

#[derive(Debug, Clone, Args)]
struct Idle {
    /// Process of the server.
    #[arg(long)]
    server_pid: u32,
    /// Seconds.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// `key=value`, added to the line of JSON; may be given more than once.
    #[arg(long, value_parser = label)]
    label: Vec<(String, String)>,
}

#[derive(Debug, Clone, Args)]
struct Evict {
    /// The folder.
    folder: std::path::PathBuf,
}

#[derive(Debug, Clone, Args)]
struct Disk {
    /// The folder.
    folder: std::path::PathBuf,
    /// Bytes of a record.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Seconds.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
    /// `key=value`, added to the line of JSON; may be given more than once.
    #[arg(long, value_parser = label)]
    label: Vec<(String, String)>,
}

#[derive(Debug, Clone, Args)]
struct Table {
    /// The file; one run per line.
    file: std::path::PathBuf,
    /// The server that the others are compared with.
    #[arg(long, default_value = "java")]
    base: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Serialize {
    Json,
    Binary,
}

impl Common {
    fn topics(&self) -> Vec<String> {
        match self.topics {
            None => vec![self.topic.clone()],
            Some(count) => (0..count).map(|n| format!("{}{n}", self.topic)).collect(),
        }
    }

    fn limits(&self) -> control::Limits {
        // Without a duration or a count a run lasts ten seconds.
        let default = self.count.is_none().then_some(10.0);
        control::Limits {
            warm_up: Duration::from_secs_f64(self.warm_up.max(0.0)),
            duration: self.duration.or(default).map(Duration::from_secs_f64),
            count: self.count,
        }
    }

    fn serialize_type(&self) -> SerializeType {
        match self.serialize {
            Serialize::Json => SerializeType::Json,
            Serialize::Binary => SerializeType::RocketMq,
        }
    }
}

fn main() -> ExitCode {
    callboard::program::end_with_reader();
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, run(cli.mode))
        }
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("mqbench: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mode: Mode) -> Result<(), String> {
    match mode {
        Mode::Produce(args) if args.rate.is_some() => runs::open_loop(args).await,
        Mode::Produce(args) => runs::produce(args).await,
        Mode::Consume(args) => runs::consume(args).await,
        Mode::Latency(args) => runs::latency(args).await,
        Mode::Echo(args) => echo::run(&args.listen, args.queues)
            .await
            .map_err(|error| error.to_string()),
        Mode::Wait(args) => runs::wait(args).await,
        Mode::Idle(args) => runs::idle(args).await,
        Mode::Evict(args) => evict::run(&args.folder).map_err(|error| error.to_string()),
        Mode::Disk(args) => {
            let lasting = Duration::from_secs_f64(args.duration.max(0.0));
            let report = disk::run(&args.folder, args.body, lasting)?;
            report.print(args.json, &args.label);
            Ok(())
        }
        Mode::Sparse(args) => sparse::run(&args),
        Mode::Kind(args) => kinds::run(args).await,
        Mode::Namesrv(args) => namesrv::run(&args).await,
        Mode::Table(args) => {
            let text = std::fs::read_to_string(&args.file).map_err(|error| error.to_string())?;
            print!("{}", table::render(&text, &args.base)?);
            Ok(())
        }
    }
}
