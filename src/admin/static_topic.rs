//! Static topics: updateStaticTopic, remappingStaticTopic. What is there and what is planned goes to a
//! file each before anything is changed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::admin::Context;
use crate::client::admin::master;
use crate::client::{ClientError, now_ms};
use crate::protocol::body::topic_remapping::{CREATE_OR_UPDATE, TopicRemappingDetailWrapper};
use crate::protocol::fastjson;
use crate::protocol::static_topic::{BrokerConfigs, StaticTopicError, check, plan};

/// What both commands are told.
#[derive(Debug, Args)]
struct Options {
    /// Clusters, `,` between them, whose brokers are to have the queues.
    #[arg(short, long, conflicts_with = "brokers", required_unless_present_any = ["brokers", "map_file"])]
    clusters: Option<String>,
    /// Names of brokers, `,` between them, that are to have the queues.
    #[arg(short, long)]
    brokers: Option<String>,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// File with the mapping to write, instead of one that is computed; also written `-mf`.
    #[arg(long = "mapFile", alias = "mf")]
    map_file: Option<PathBuf>,
    /// Whether brokers take a mapping that is older than theirs; also written `-fr`.
    #[arg(long = "forceReplace", alias = "fr")]
    force_replace: Option<bool>,
}

impl Options {
    fn topic(&self) -> &str {
        self.topic.trim()
    }

    fn force(&self) -> bool {
        self.force_replace.unwrap_or(false)
    }

    /// The brokers that are meant.
    async fn targets(&self, ctx: &Context) -> Result<BTreeSet<String>, ClientError> {
        let names = |text: &str| -> Vec<String> {
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let mut targets = BTreeSet::new();
        if let Some(brokers) = &self.brokers {
            targets.extend(names(brokers));
        } else if let Some(clusters) = &self.clusters {
            let info = ctx.admin.cluster_info().await?;
            for cluster in names(clusters) {
                let brokers = info.cluster_addr_table.get(&cluster);
                targets.extend(brokers.into_iter().flatten().cloned());
            }
        }
        match targets.is_empty() {
            true => Err(StaticTopicError::NoTargets.into()),
            false => Ok(targets),
        }
    }

    /// The plan of a file, checked.
    fn read_plan(&self, path: &PathBuf) -> Result<TopicRemappingDetailWrapper, ClientError> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| ClientError::File {
            path: name.clone(),
            source,
        })?;
        let plan: TopicRemappingDetailWrapper = fastjson::from_slice(&text)
            .map_err(|error| ClientError::Invalid(format!("{name}: {error}")))?;
        check::agreed(self.topic(), &plan.broker_config_map)?;
        check::logic_queues(&plan.broker_config_map)?;
        Ok(plan)
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateStaticTopic {
    #[command(flatten)]
    options: Options,
    /// Queues in all; also written `-qn`.
    #[arg(
        long = "totalQueueNum",
        alias = "qn",
        required_unless_present = "map_file"
    )]
    total_queue_num: Option<i32>,
}

impl UpdateStaticTopic {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (topic, force) = (self.options.topic(), self.options.force());
        if let Some(path) = &self.options.map_file {
            let mut plan = self.options.read_plan(path)?;
            ctx.admin.create_static_topic(&mut plan, force).await?;
            return done(ctx, &plan);
        }
        let mut targets = self.options.targets(ctx).await?;
        let brokers = ctx.admin.topic_config_everywhere(topic).await?;
        save_old(ctx, topic, &brokers)?;
        // Whoever has the topic already stays among those that may get queues.
        targets.extend(brokers.keys().cloned());
        let queues = self.total_queue_num.unwrap_or(0);
        let shuffle = |equals: &mut [String]| {
            use rand::seq::SliceRandom;
            equals.shuffle(&mut rand::rng());
        };
        let mut plan = plan::create(topic, queues, &targets, brokers, now_ms(), shuffle)?;
        save(ctx, "new", ".after", &plan)?;
        ctx.admin.create_static_topic(&mut plan, force).await?;
        done(ctx, &plan)
    }
}

#[derive(Debug, Args)]
pub(super) struct RemappingStaticTopic {
    #[command(flatten)]
    options: Options,
}

impl RemappingStaticTopic {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (topic, force) = (self.options.topic(), self.options.force());
        if let Some(path) = &self.options.map_file {
            let mut plan = self.options.read_plan(path)?;
            ctx.admin.remap_static_topic(&mut plan, force).await?;
            return done(ctx, &plan);
        }
        let targets = self.options.targets(ctx).await?;
        let info = ctx.admin.cluster_info().await?;
        for broker in &targets {
            master(&info, broker)?;
        }
        let brokers = ctx.admin.topic_config_everywhere(topic).await?;
        if brokers.is_empty() {
            let text = "No topic route to do the remapping";
            return Err(ClientError::Invalid(text.to_owned()));
        }
        save_old(ctx, topic, &brokers)?;
        let mut plan = plan::remap(topic, brokers, &targets, now_ms())?;
        save(ctx, "new", ".after", &plan)?;
        ctx.admin.remap_static_topic(&mut plan, force).await?;
        done(ctx, &plan)
    }
}

/// Writes what the brokers have.
fn save_old(ctx: &Context, topic: &str, brokers: &BrokerConfigs) -> Result<(), ClientError> {
    let epoch = check::agreed(topic, brokers)?.map_or_else(now_ms, |agreed| agreed.epoch);
    let old = TopicRemappingDetailWrapper {
        topic: topic.to_owned(),
        r#type: CREATE_OR_UPDATE.to_owned(),
        epoch,
        broker_config_map: brokers.clone(),
        ..TopicRemappingDetailWrapper::default()
    };
    save(ctx, "old", ".before", &old)
}

/// Writes a mapping to RocketMQ's place for it, and says so.
fn save(
    ctx: &Context,
    what: &str,
    suffix: &str,
    mapping: &TopicRemappingDetailWrapper,
) -> Result<(), ClientError> {
    let name = format!("{}-{}{suffix}", mapping.topic, mapping.epoch);
    let path = std::env::temp_dir().join(name).display().to_string();
    let text =
        fastjson::to_vec(mapping).map_err(|error| ClientError::Invalid(error.to_string()))?;
    std::fs::write(&path, text).map_err(|source| ClientError::File {
        path: path.clone(),
        source,
    })?;
    if !ctx.out.json {
        println!("The {what} mapping data is written to file {path}");
    }
    Ok(())
}

/// With `--json` the mapping as it was written to the brokers.
fn done(ctx: &Context, plan: &TopicRemappingDetailWrapper) -> Result<(), ClientError> {
    ctx.out.show(plan, || {});
    Ok(())
}
