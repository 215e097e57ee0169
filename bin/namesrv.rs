//! The NameServer program: `namesrv [-c FILE] [-p] [-n ADDRS]`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use callboard::actors::kernel::{Tree, Watchdog, WatchdogConfig};
use callboard::actors::namesrv::{Namesrv, NamesrvThreads};
use callboard::config::{Config, Env, NamesrvConfig};
use callboard::program::{self, End};
use clap::Parser;

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
    program::init_logging();
    let flags = Flags::parse();
    let config = match NamesrvConfig::load(flags.config_file.as_deref(), &[], &Env::of_process()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if flags.print_config {
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

/// Runs until a signal comes or an actor gives up.
async fn run(config: NamesrvConfig) -> ExitCode {
    let tree = Tree::new("namesrv");
    let mut end = End::of(&tree);
    let stuck_after = Duration::from_millis(config.own.actor_stuck_ms);
    let watch = WatchdogConfig {
        stuck_after,
        ..WatchdogConfig::default()
    };
    let threads = NamesrvThreads::spawn(&config.own);
    let namesrv = match Namesrv::start(config, &tree, &threads, None) {
        Ok(namesrv) => namesrv,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // Without its debug endpoint a NameServer is still one.
    let console = namesrv.start_console(&tree, &threads.tables);
    let console = console.inspect_err(|error| log::error!("no debug endpoint error={error}"));
    let _watchdog =
        Watchdog::start(&tree, watch).inspect_err(|error| log::warn!("no watchdog error={error}"));
    let address = namesrv.address;
    if let Err(error) = end.listen() {
        log::error!("signals cannot be received error={error}");
    }
    println!("The Name Server boot success. serializeType=JSON, address {address}");
    if let Ok(Some((_, debug))) = &console {
        log::info!("namesrv/console listens address={debug}");
    }
    let code = end.wait().await;
    log::info!("namesrv stops address={address}");
    namesrv.shutdown().await;
    code
}
