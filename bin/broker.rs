//! The broker program: `broker [-c FILE] [-n ADDRS] [-p] [-m]`, as RocketMQ's mqbroker.

use std::{path::PathBuf, process::ExitCode};

use callboard::{
    actors::{broker::start::Broker, kernel::Tree},
    config::{Config, Env, Live, broker::BrokerConfig},
    program::{self, End},
};
use clap::Parser;

/// A message broker that speaks Apache RocketMQ's protocol.
#[derive(Debug, Parser)]
#[command(name = "broker", version)]
struct Flags {
    /// Properties file with the configuration.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Addresses of the NameServers, separated by `;`.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRS")]
    namesrv_addr: Option<String>,
    /// Prints every key with its value and ends.
    #[arg(short = 'p', long = "printConfigItem")]
    print_config: bool,
    /// Prints the keys that were set and ends.
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important: bool,
}

fn main() -> ExitCode {
    program::init_logging();
    let flags = Flags::parse();
    let overrides: Vec<(&str, &str)> = flags
        .namesrv_addr
        .iter()
        .map(|addrs| ("namesrvAddr", addrs.as_str()))
        .collect();
    let file = flags.config_file.as_deref();
    let config = match BrokerConfig::load(file, &overrides, &Env::of_process()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if flags.print_config || flags.print_important {
        program::end_with_reader();
        print!("{}", config.to_properties());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = program::end_with_parent() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    program::raise_file_limit();
    actix::System::new().block_on(run(config))
}

async fn run(config: BrokerConfig) -> ExitCode {
    let tree = Tree::new("broker");
    let mut end = End::of(&tree);
    let name = config.broker.broker_name.clone();
    let broker = match Broker::start(tree, Live::new(config)).await {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = end.listen() {
        log::error!("signals cannot be received error={error}");
    }
    println!(
        "The broker[{name}, {}] boot success. serializeType=JSON and name server is {}",
        broker.ctx.identity.broker_addr,
        broker.ctx.config.load().broker.namesrv_addr
    );
    let code = end.wait().await;
    log::info!("broker stops");
    broker.shutdown().await;
    code
}
