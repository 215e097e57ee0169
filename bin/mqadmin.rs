//! `mqadmin`: RocketMQ's admin tool, without a JVM.

use std::process::ExitCode;

use callboard::{
    admin::{self, Cli},
    program,
};

fn main() -> ExitCode {
    program::end_with_reader();
    let cli = Cli::of_program();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime
            .block_on(admin::run(cli))
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("mqadmin: {reason}");
            ExitCode::FAILURE
        }
    }
}
