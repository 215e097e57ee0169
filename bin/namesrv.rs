//! The NameServer program: `namesrv [-c FILE] [-p] [-n ADDRS]`.

use std::path::PathBuf;
use std::process::ExitCode;

use callboard::actors::kernel::Tree;
use callboard::actors::namesrv::{Namesrv, NamesrvThreads};
use callboard::config::{Config, Env, NamesrvConfig};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// A NameServer that speaks Apache RocketMQ's protocol.
#[derive(Debug, Parser)]
#[command(name = "namesrv", version)]
struct Flags {
    /// Properties file with the configuration.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Prints every key with its value and ends.
    #[arg(short = 'p', long = "printConfigItem")]
    print_config: bool,
    /// Accepted for the sake of old scripts; a NameServer needs no other.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRS")]
    _namesrv_addr: Option<String>,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let flags = Flags::parse();
    let config = match NamesrvConfig::load(flags.config_file.as_deref(), &[], &Env::of_process()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if flags.print_config {
        print!("{}", config.to_properties());
        return ExitCode::SUCCESS;
    }
    raise_file_limit();
    actix::System::new().block_on(run(config))
}

/// Runs until a signal comes or an actor gives up.
async fn run(config: NamesrvConfig) -> ExitCode {
    let tree = Tree::new("namesrv");
    let (gave_up, mut given_up) = mpsc::unbounded_channel();
    tree.on_gave_up(move |child| {
        let _ = gave_up.send(child.path.to_string());
    });
    let threads = NamesrvThreads::spawn(&config.own);
    let namesrv = match Namesrv::start(config, &tree, &threads, None) {
        Ok(namesrv) => namesrv,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let address = namesrv.address;
    println!("The Name Server boot success. serializeType=JSON, address {address}");
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        eprintln!("signals cannot be received");
        return ExitCode::FAILURE;
    };
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        path = given_up.recv() => {
            log::error!("namesrv stops, for an actor gave up path={}", path.unwrap_or_default());
            ExitCode::FAILURE
        }
    };
    log::info!("namesrv stops address={address}");
    namesrv.shutdown().await;
    code
}

/// One connection is one file: the soft limit goes up to the hard one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        log::warn!("namesrv cannot raise the limit of open files");
    }
}
