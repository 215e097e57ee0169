//! Everything in one process: a NameServer, a broker and its console. The quick start.
//!
//! `callboard [--data DIR] [-c FILE]` starts both on RocketMQ's ports, sends ten messages, consumes
//! them, prints where everything is, and serves until it is stopped. `callboard cluster DIR` runs the
//! servers of a folder of configuration files instead, `callboard cluster-config` writes such a folder.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use callboard::{
    actors::{
        broker::start::Broker,
        kernel::Tree,
        namesrv::{Namesrv, NamesrvThreads},
    },
    client::{
        ClientConfig, ClientError, ConsumeFrom, ConsumeOutcome, Message, MessageExt, MqClient,
        Producer, PushConsumer,
    },
    cluster::{ClusterError, Layout, Run},
    config::{Env, Live, NamesrvConfig, broker::BrokerConfig},
    program::{self, End},
};
use clap::{Parser, Subcommand};
use tokio::sync::mpsc;

/// Topic of the quick start's messages.
const TOPIC: &str = "QuickStart";

/// How many messages the quick start sends.
const MESSAGES: usize = 10;

/// How long they may take to come back.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(30);

/// A NameServer and a broker in one process, or a cluster of several.
#[derive(Debug, Parser)]
#[command(name = "callboard", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the servers of a folder of configuration files as child processes.
    Cluster(Run),
    /// Writes a folder of configuration files for so many masters and slaves.
    ClusterConfig {
        #[command(flatten)]
        layout: Layout,
        /// Folder to write; nothing in it is overwritten.
        #[arg(value_name = "OUT_DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Directory of everything that is stored.
    #[arg(long, value_name = "DIR", default_value = "callboard-data")]
    data: PathBuf,
    /// Properties file with the broker's configuration.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Serves at once, without sending and consuming messages first.
    #[arg(long)]
    serve_only: bool,
    /// Ends after the messages came back.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        None => return serve(cli.flags),
        Some(Command::Cluster(run)) => run_cluster(run),
        Some(Command::ClusterConfig { layout, dir }) => layout.write(&dir).map(|files| {
            program::end_with_reader();
            for file in files {
                println!("wrote {}", file.display());
            }
            println!("start it: callboard cluster {}", dir.display());
            ExitCode::SUCCESS
        }),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// Not on an actix system: there is no actor in it, and the main thread is the children's parent.
fn run_cluster(run: Run) -> Result<ExitCode, ClusterError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(ClusterError::Runtime)?.block_on(run.run())
}

fn serve(flags: Flags) -> ExitCode {
    program::init_logging();
    program::raise_file_limit();
    actix::System::new().block_on(async move {
        match run(&flags).await {
            Ok(code) => code,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    })
}

type AnyError = Box<dyn std::error::Error>;

async fn run(flags: &Flags) -> Result<ExitCode, AnyError> {
    let env = Env::of_process();
    let namesrv_dir = flags.data.join("namesrv");
    let path = |name: &str| namesrv_dir.join(name).display().to_string();
    let (kv, stored) = (path("kvConfig.json"), path("namesrv.properties"));
    let namesrv_config = NamesrvConfig::load(
        None,
        &[
            ("kvConfigPath", kv.as_str()),
            ("configStorePath", stored.as_str()),
        ],
        &env,
    )?;
    let namesrv_addr = format!("127.0.0.1:{}", namesrv_config.namesrv.listen_port);
    let store = flags.data.join("store").display().to_string();
    let mut overrides = vec![("namesrvAddr", namesrv_addr.as_str())];
    if flags.config_file.is_none() {
        overrides.push(("storePathRootDir", store.as_str()));
        overrides.push(("brokerIP1", "127.0.0.1"));
    }
    let broker_config = BrokerConfig::load(flags.config_file.as_deref(), &overrides, &env)?;

    let namesrv_tree = Tree::new("namesrv");
    let end = End::of(&namesrv_tree);
    let threads = NamesrvThreads::spawn(&namesrv_config.own);
    let namesrv = Namesrv::start(namesrv_config, &namesrv_tree, &threads, None)?;
    let broker_tree = Tree::new("broker");
    end.also(&broker_tree);
    let broker = Broker::start(broker_tree, Live::new(broker_config)).await?;
    println!("NameServer  {namesrv_addr}");
    println!("broker      {}", broker.ctx.identity.broker_addr);

    if !flags.serve_only {
        quick_start(&namesrv_addr).await?;
    }
    if let Some(console) = broker.console_address {
        println!("console     http://{console}/");
    }
    let code = if flags.once {
        ExitCode::SUCCESS
    } else {
        println!("serving; Ctrl-C stops");
        end.wait().await
    };
    broker.shutdown().await;
    namesrv.shutdown().await;
    Ok(code)
}

/// Sends messages and consumes them with the Rust client, as any RocketMQ client would.
async fn quick_start(namesrv_addr: &str) -> Result<(), AnyError> {
    let client = MqClient::start(ClientConfig::new(namesrv_addr))?;
    let producer = Producer::new(&client, "quick_start_producer")?;
    for number in 0..MESSAGES {
        let message = Message::new(TOPIC, format!("message {number}")).with_tags("TagA");
        let sent = producer.send(message).await?;
        println!(
            "sent        message {number} to {} at {}",
            sent.queue, sent.queue_offset
        );
    }
    let received = consume(&client).await?;
    println!("consumed    {received} messages of {TOPIC}");
    producer.shut_down().await;
    client.shut_down().await;
    Ok(())
}

/// Consumes until as many messages came as were sent, or more of earlier runs.
async fn consume(client: &MqClient) -> Result<usize, ClientError> {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let consumer = PushConsumer::builder("quick_start_consumer")
        .subscribe(TOPIC, "TagA")
        .from(ConsumeFrom::FirstOffset)
        .start(client, move |messages: Vec<MessageExt>| {
            for message in &messages {
                // The other end goes when enough have come.
                let _ = arrived.send(String::from_utf8_lossy(&message.body).into_owned());
            }
            async { ConsumeOutcome::Success }
        })
        .await?;
    let mut received = 0;
    while received < MESSAGES {
        match tokio::time::timeout(ROUND_TRIP_MAX, arrivals.recv()).await {
            Ok(Some(body)) => println!("consumed    {body}"),
            _ => break,
        }
        received += 1;
    }
    consumer.shut_down(Duration::from_secs(5)).await;
    Ok(received)
}
