//! A stopped broker's store: truncateLog.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::{
    actors::broker::settings::store_config,
    client::ClientError,
    config::{BrokerConfig, Env},
    store::{fs::RealFs, truncate::truncate_log},
};

#[derive(Debug, Args)]
pub(super) struct TruncateLog {
    /// The broker's configuration file.
    #[arg(short = 'f', long)]
    config_file: PathBuf,
    /// Physical offset; the log ends at the last record that ends at or before it.
    #[arg(short, long)]
    offset: i64,
}

impl TruncateLog {
    #[allow(clippy::unused_async)] // as every subcommand
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError::Invalid(error.to_string());
        let file = self.config_file;
        let config = BrokerConfig::load(Some(&file), &[], &Env::of_process());
        let config = config.map_err(|error| failed(&error))?;
        let store = store_config(&config).map_err(|error| failed(&error))?;
        let cut = truncate_log(&RealFs::shared(), &store, self.offset);
        let cut = cut.map_err(|error| failed(&error))?;
        let kept_in: Vec<_> = cut
            .kept_in
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        if ctx.out.json {
            let value = json!({"oldEnd": cut.old_end, "end": cut.end, "keptIn": kept_in});
            println!("{value}");
            return Ok(());
        }
        println!(
            "the log ended at {} and ends at {} now",
            cut.old_end, cut.end
        );
        for path in kept_in {
            println!("kept in {path}");
        }
        Ok(())
    }
}
