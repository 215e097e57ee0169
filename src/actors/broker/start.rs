//! Starting a broker, and stopping it in order.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    console,
    context::{BrokerContext, Identity, SendMarks, StoreHandles},
    processor::topic::finish_deletions,
    registrar::Registrars,
    root::Root,
    service::BrokerService,
    settings,
    static_topics::{Forwarder, StaticTopics, cleaner::CleanerParts},
    stats::Stats,
    tables::{
        filters::Filters, offsets::Offsets, subscriptions::SubscriptionGroups, topics::Topics,
    },
    take_back::take_back_offsets,
    timed::TimedRules,
};
use crate::{
    actors::{
        delivery::{
            pop::{
                PopParts, PopPolicy, Pops, after_kill::raise_offsets, in_flight::InFlight,
                orders::Orders, records::ReviveLog,
            },
            revive::{self, Revive},
            schedule::{DelayOffsets, Schedule, Scheduler, SchedulerParts},
            timer::{Timer, TimerActor, TimerMarks, TimerParts, TimerPolicy},
            transactions::{TransactionCounts, TransactionParts, Transactions, TransactionsActor},
        },
        groups::{ConsumerGroups, ProducerGroups},
        ha::{self, Ha, HaParts, HaPolicy, MirrorSource},
        kernel::{
            ActorRef, Permits, Role, Shutdown, Threads, Tree, Watchdog, WatchdogConfig, lock,
            shutdown_in_order, spawn,
        },
        net::{Net, NetConfig},
        store::compaction::{CompactionHandle, CompactionParts, FromMaster, ServiceParts},
        store::start::{StoreActors, StoreSettings},
    },
    config::{Live, broker::BrokerConfig},
    console::Console,
    protocol::message::{id::UniqueKeys, names},
    store::{
        compaction::{CompactionHome, position::Positions},
        epoch::EpochFile,
        error::StoreError,
        fs::{Fs, RealFs},
        now_ms,
        open::OpenStore,
        queue_locks::QueueLocksFile,
        queue_table::QueueKind,
        tables::Tables,
        timer::TimerConfig,
    },
};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// A table below `config/` is unreadable.
    #[error("a table cannot be read: {0}")]
    Table(#[source] StoreError),
    /// The system refused a thread or a port.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An address in the configuration is none.
    #[error("brokerIP1 is not an IP address: {0}")]
    Address(String),
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// A running broker.
pub struct Broker {
    /// What its processors share.
    pub ctx: Arc<BrokerContext>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its debug endpoint listens.
    pub console_address: Option<SocketAddr>,
    revives: Vec<ActorRef<Revive>>,
    console: Option<ActorRef<Console>>,
    store: StoreActors,
    net: Net,
    threads: Threads,
    /// The tree knows it weakly; without an address it would end, and its children's reports with it.
    _root: ActorRef<Root>,
    _watchdog: Watchdog,
}

impl Broker {
    /// Opens the store and starts all actors in `tree`. When this returns, requests are answered.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(tree: Tree, config: Arc<Live<BrokerConfig>>) -> Result<Self, StartError> {
        let loaded = config.load_full();
        if let Some(warning) = settings::role_warning(&loaded) {
            log::warn!("{warning}");
        }
        let fs: Fs = Arc::new(RealFs);
        let own = &loaded.own;
        tree.set_restart_budget(own.actor_restarts_max, own.actor_restarts_within_ms);
        let store_settings = settings::store_settings(&config)?;
        let open = OpenStore::open(&fs, &store_settings.store)?;
        let was_killed = !open.clean;
        // Before anybody writes the file anew.
        let offsets_file = store_settings.store.root.join("config/consumerOffset.json");
        let offsets_saved_at = std::fs::metadata(offsets_file).and_then(|file| file.modified());
        let offsets_saved_at = offsets_saved_at.ok();
        let threads = Threads::start(settings::threads(&loaded)).map_err(io("start threads"))?;
        let watchdog = Watchdog::start(&tree, watchdog_config(&loaded));
        let watchdog = watchdog.map_err(io("start the watchdog"))?;
        let identity = identity(&loaded)?;
        let root_tree = tree.clone();
        let policy = tree.restart_policy();
        let root = spawn(
            &tree,
            "",
            "broker",
            "broker",
            &threads.get(Role::Misc),
            policy,
            move |cell| Root::recover(cell, root_tree),
        );
        root.supervise();

        let builder = Builder {
            tree: &tree,
            threads: &threads,
            fs: &fs,
            config: &config,
            permits: settings::permits(&loaded),
        };
        let (ctx, store) = builder.build(identity, store_settings, open)?;
        ctx.compaction.ready().await;
        finish_deletions(&ctx).await;
        if loaded.is_master() {
            let last_epoch = begin_epoch(&ctx);
            take_back_offsets(&ctx, was_killed, last_epoch).await;
            if was_killed {
                let raised = raise_offsets(&ctx.pops.parts, offsets_saved_at).await;
                log::info!("offsets raised by what was popped before the kill: {raised}");
            }
        } else {
            ctx.offsets.table().follow();
        }
        let revives = builder.revives(&ctx);
        let net = Net::start(
            &tree,
            "broker",
            threads.net(),
            NetConfig::of(&loaded.server, &loaded.own),
        );
        let ha = start_ha(&tree, &threads, &loaded, &ctx)?;
        let _ = ctx.ha.set(ha);
        let address = listen(&net, &loaded, &ctx)?;
        let console = console::start(&tree, &threads, &ctx, &net);
        let console = console.map_err(io("start the debug endpoint"))?;
        ctx.registrars.start();
        // As RocketMQ: who hears that this broker has started finds it by its NameServers.
        ctx.registrars.first_heard().await;
        let broker = Self {
            ctx,
            address,
            console_address: console.as_ref().map(|(_, address)| *address),
            console: console.map(|(actor, _)| actor),
            revives,
            store,
            net,
            threads,
            _root: root,
            _watchdog: watchdog,
        };
        Ok(broker)
    }

    /// Ends the broker in order: unregister, take no more, drain, flush, write everything down,
    /// remove the `abort` file. Whatever has not ended by the deadline is left behind, and so is
    /// `abort`.
    pub async fn shutdown(self) {
        let deadline = Duration::from_millis(self.ctx.config.load().own.shutdown_ms);
        self.ctx.registrars.unregister().await;
        self.net.stop_listening().await;
        let timer = self.ctx.timer.as_ref();
        let mut deliveries = vec![
            self.ctx.schedule.actor.narrow::<Shutdown>(),
            self.ctx.transactions.actor.narrow::<Shutdown>(),
        ];
        deliveries.extend(timer.map(|timer| timer.actor.narrow::<Shutdown>()));
        deliveries.extend(self.revives.iter().map(ActorRef::narrow));
        deliveries.extend(self.ctx.pops.steps());
        deliveries.push(self.ctx.static_topics.actor.narrow::<Shutdown>());
        let mut clean = shutdown_in_order(&deliveries, deadline).await.is_empty();
        self.net.close_all();
        if let Some(compaction) = self.ctx.compaction.actor().map(ActorRef::narrow) {
            let failed = shutdown_in_order(&[compaction], deadline).await;
            clean &= failed.is_empty();
        }
        if let Some(ha) = self.ctx.ha.get() {
            clean &= ha.shutdown(deadline).await;
        }
        for ended in [
            self.ctx.topics.shut_down().await,
            self.ctx.subscriptions.shut_down().await,
            self.ctx.offsets.shut_down().await,
            self.ctx.filters.shut_down().await,
            self.ctx.consumers.shut_down_locks().await,
        ] {
            clean &= ended.is_ok();
        }
        self.store.shutdown(deadline, clean).await;
        if let Some(console) = &self.console {
            // Last, so that the end can be watched; nothing depends on it.
            let _ = console.ask(Shutdown).await;
        }
        self.threads.stop();
    }
}

fn watchdog_config(config: &BrokerConfig) -> WatchdogConfig {
    WatchdogConfig {
        stuck_after: Duration::from_millis(config.own.actor_stuck_ms),
        ..WatchdogConfig::default()
    }
}

fn identity(config: &BrokerConfig) -> Result<Identity, StartError> {
    let broker = &config.broker;
    let ip: IpAddr = broker
        .broker_ip1
        .parse()
        .map_err(|_| StartError::Address(broker.broker_ip1.clone()))?;
    Ok(Identity {
        cluster: broker.broker_cluster_name.clone(),
        broker_name: broker.broker_name.clone(),
        broker_id: broker.broker_id,
        broker_addr: config.broker_addr(),
        store_host: SocketAddr::new(ip, broker.listen_port),
        ha_server_addr: config.ha_server_addr(),
        unique_keys: UniqueKeys::new(ip, std::process::id(), 0),
    })
}

fn bind_ip(config: &BrokerConfig) -> IpAddr {
    let given = config.server.bind_address.parse();
    given.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// Listens on the broker's port and on the "VIP" port beside it, as RocketMQ does.
fn listen(
    net: &Net,
    config: &BrokerConfig,
    ctx: &Arc<BrokerContext>,
) -> Result<SocketAddr, StartError> {
    let ip = bind_ip(config);
    let port = config.broker.listen_port;
    let address = SocketAddr::new(ip, port);
    let factory = BrokerService::factory(Arc::clone(ctx));
    let bound = net
        .listen(address, factory.clone())
        .map_err(io(format!("listen on {address}")))?;
    if let Some(fast) = port.checked_sub(2).filter(|&fast| fast > 0) {
        let address = SocketAddr::new(ip, fast);
        net.listen(address, factory)
            .map_err(io(format!("listen on {address}")))?;
    }
    Ok(bound)
}

/// Listens for slaves on `haListenPort`, and on a slave follows its master.
fn start_ha(
    tree: &Tree,
    threads: &Threads,
    config: &BrokerConfig,
    ctx: &Arc<BrokerContext>,
) -> Result<Ha, StartError> {
    let ip = bind_ip(config);
    let address = SocketAddr::new(ip, config.store.ha_listen_port);
    let parts = HaParts {
        watermarks: ctx.store.watermarks.clone(),
        writer: ctx.store.writer.clone(),
        acks: ctx.store.acks.clone(),
        dispatcher: ctx.store.dispatcher.clone(),
        policy: ctx.config.derive(HaPolicy::of),
        flushed_only: ha::flushed_only(config),
    };
    let source = MirrorSource {
        registrars: ctx.registrars.clone(),
        topics: ctx.topics.clone(),
        subscriptions: ctx.subscriptions.clone(),
        offsets: ctx.offsets.clone(),
        delay: Arc::clone(&ctx.schedule.offsets),
        timer: ctx.timer.as_ref().map(|timer| Arc::clone(&timer.marks)),
        epoch: Arc::clone(&ctx.epoch),
    };
    Ha::start(tree, threads, address, parts, config, source)
        .map_err(io(format!("listen for slaves on {address}")))
}

/// This broker is a master from now on: the next one in the row of its name. Yields the last epoch
/// that was known here.
fn begin_epoch(ctx: &BrokerContext) -> u64 {
    let mut file = lock(&ctx.epoch);
    let last_epoch = file.epoch();
    if let Err(error) = file.raise(last_epoch + 1) {
        log::warn!("broker cannot write its epoch: {error}");
    }
    last_epoch
}

struct Builder<'a> {
    tree: &'a Tree,
    threads: &'a Threads,
    fs: &'a Fs,
    config: &'a Arc<Live<BrokerConfig>>,
    permits: Permits,
}

impl Builder<'_> {
    fn build(
        &self,
        identity: Identity,
        settings: StoreSettings,
        open: OpenStore,
    ) -> Result<(Arc<BrokerContext>, StoreActors), StartError> {
        let (tree, fs, config) = (self.tree, self.fs, self.config);
        let misc = self.threads.get(Role::Misc);
        let root = settings.store.root.clone();
        let timer_config = timer_config(&self.config.load(), &settings);
        let epoch = EpochFile::load(fs, &settings.store.own_dir().join("epoch"));
        let limits = settings.limits.clone();
        let (own_dir, has_all) = (settings.store.own_dir(), open.has_all);
        let levels = settings.store.commit_log.dispatch.delay_levels.max_level();
        let stats = Stats::start(tree, "broker", &misc, &identity.cluster);
        let actors = StoreActors::start(tree, self.threads, fs, settings, open, stats.clone());
        stats.attach(Arc::clone(&actors.table));
        let max_message_size = Arc::new(AtomicUsize::new(0));
        let size = Arc::clone(&max_message_size);
        config.follow(move |config| {
            let bytes = usize::try_from(config.store.max_message_size).unwrap_or(0);
            size.store(bytes, Relaxed);
        });
        let store = StoreHandles {
            watermarks: actors.watermarks.clone(),
            table: Arc::clone(&actors.table),
            shards: actors.shards.clone(),
            index: actors.index.clone(),
            index_marks: Arc::clone(&actors.index_marks),
            writer: actors.writer.clone(),
            acks: actors.acks.clone(),
            dispatcher: actors.dispatcher.clone(),
            retention: actors.retention.clone(),
            homes: actors.homes.clone(),
            deleted: Arc::clone(&actors.deleted),
            arrivals: actors.arrivals.clone(),
            store_host: identity.store_host,
            max_message_size,
            max_lmqs: self.config.load().store.max_lmq_consume_queue_num,
        };
        let cold = self.threads.get(Role::Cold);
        let tables = Tables::new(fs.clone(), root.join("config"));
        let topics = Topics::start(tree, "broker", &cold, &tables, Arc::clone(config))
            .map_err(StartError::Table)?;
        let table = Arc::clone(&actors.table);
        topics.before_put(move |topic| table.set_kind(&topic.topic_name, QueueKind::of(topic)));
        let subscriptions =
            SubscriptionGroups::start(tree, "broker", &cold, &tables, Arc::clone(config))
                .map_err(StartError::Table)?;
        let offsets = Offsets::start(tree, "broker", &cold, &tables, Arc::clone(config))
            .map_err(StartError::Table)?;
        let (orders_file, orders) = tables.consumer_order_info().map_err(StartError::Table)?;
        let producers = ProducerGroups::default();
        let consumers = ConsumerGroups::new(tree, "broker", misc.clone(), Arc::clone(config));
        consumers.keep_locks(&cold, QueueLocksFile::new(fs, &own_dir));
        consumers.start(producers.clone());
        let (live, groups) = (Arc::clone(config), consumers.clone());
        let filters = Filters::start(tree, "broker", &cold, &tables, live, groups)
            .map_err(StartError::Table)?;
        // It is set once: the store has just been started.
        let _ = actors.bit_maps.set(filters.bit_maps());
        let schedule = self.schedule(&store, &tables, levels)?;
        let (file, counts) = tables.transaction_metrics().map_err(StartError::Table)?;
        let transactions = self.transactions(TransactionParts {
            store: store.clone(),
            permits: self.permits.clone(),
            config: Arc::clone(config),
            offsets: offsets.clone(),
            topics: topics.clone(),
            producers: producers.clone(),
            counts: Arc::new(TransactionCounts::new(file, counts)),
            delivers: config.load().is_master(),
        });
        let timer = self.timer(&store, &tables, timer_config)?;
        let timed = config.derive(TimedRules::of);
        let pops = PopParts {
            log: ReviveLog {
                store: store.clone(),
                permits: self.permits.clone(),
                timer: timer.as_ref().map(|timer| Arc::clone(&timer.marks)),
                timed: Arc::clone(&timed),
                topic: names::revive_topic(&identity.cluster).into(),
            },
            broker_name: identity.broker_name.clone(),
            revive_queues: config.load().broker.revive_queue_num,
            pops: AtomicU64::new(0),
            topics: topics.clone(),
            groups: subscriptions.clone(),
            offsets: offsets.clone(),
            orders: Orders::new(orders.unwrap_or_default()),
            in_flight: InFlight::new(now_ms()),
            stats: stats.clone(),
            policy: config.derive(PopPolicy::of),
        };
        let shards = (0..self.threads.shard_count()).map(|n| self.threads.get(Role::Shard(n)));
        let pops = Pops::start(tree, shards, &cold, pops, orders_file);
        let registrars = Registrars::new(tree, "broker", &misc, Arc::clone(config), topics.clone());
        let compaction =
            self.compaction(&actors, &topics, &root, &own_dir, |home, positions| {
                let store = &config.load().store;
                CompactionParts {
                    home,
                    positions: Mutex::new(positions),
                    shards: actors.shards.clone(),
                    limits,
                    stats: stats.clone(),
                    every: Duration::from_millis(
                        store.compaction_schedule_interval_ms.max(1) as u64
                    ),
                    map_bytes: store.max_offset_map_size,
                    has_all,
                    master: (!config.load().is_master()).then(|| FromMaster(registrars.clone())),
                    under_way: Arc::default(),
                }
            })?;
        let forwarder = Forwarder::new(registrars.clone(), Arc::clone(config));
        let cleaner = CleanerParts {
            config: Arc::clone(config),
            topics: topics.clone(),
            store: store.clone(),
            forwarder: Arc::new(forwarder),
        };
        let static_topics = StaticTopics::start(tree, "broker", &misc, cleaner);
        let ctx = BrokerContext {
            config: Arc::clone(config),
            identity,
            marks: config.derive(SendMarks::of),
            started_at_ms: now_ms(),
            tree: tree.clone(),
            permits: self.permits.clone(),
            store,
            topics,
            subscriptions,
            offsets,
            filters,
            consumers,
            producers,
            registrars,
            epoch: Arc::new(Mutex::new(epoch)),
            ha: OnceLock::new(),
            schedule,
            transactions,
            timer,
            timed,
            pops,
            compaction,
            static_topics,
            stats,
        };
        Ok((Arc::new(ctx), actors))
    }

    /// Compaction topics; with `enableCompaction=false` nothing but their files is known.
    fn compaction(
        &self,
        actors: &StoreActors,
        topics: &Topics,
        root: &Path,
        own_dir: &Path,
        parts: impl FnOnce(Arc<CompactionHome>, Positions) -> CompactionParts,
    ) -> Result<CompactionHandle, StartError> {
        let config = self.config.load();
        let store = &config.store;
        let (log_len, cq_len) = (
            store.compaction_mapped_file_size,
            store.compaction_cq_mapped_file_size,
        );
        let home = CompactionHome::new(self.fs.clone(), root, own_dir, log_len, cq_len);
        if !store.enable_compaction {
            return Ok(CompactionHandle::start(home, None));
        }
        let positions = Positions::load(&home).map_err(StartError::Table)?;
        let parts = ServiceParts {
            tree: self.tree.clone(),
            arbiter: self.threads.get(Role::Compaction),
            topics: topics.clone(),
            table: Arc::clone(&actors.table),
            compactions: actors.compactions.clone(),
            queues: Arc::new(parts(Arc::clone(&home), positions)),
        };
        Ok(CompactionHandle::start(home, Some(parts)))
    }

    fn transactions(&self, parts: TransactionParts) -> Transactions {
        let counts = Arc::clone(&parts.counts);
        let (tree, arbiter) = (self.tree, self.threads.get(Role::Misc));
        let (parent, name) = ("broker/delivery", "transactions");
        let policy = tree.restart_policy();
        let actor = spawn(tree, parent, name, name, &arbiter, policy, move |cell| {
            TransactionsActor::recover(cell, parts)
        });
        Transactions { counts, actor }
    }

    /// Starts what brings popped messages back; after it all tables must be as they will be used.
    fn revives(&self, ctx: &BrokerContext) -> Vec<ActorRef<Revive>> {
        let config = self.config.load();
        let every = u64::try_from(config.broker.revive_interval_ms).unwrap_or(0);
        let arbiter = self.threads.get(Role::Misc);
        let every = Duration::from_millis(every.max(50));
        revive::start(
            self.tree,
            &arbiter,
            &ctx.pops.parts,
            every,
            config.is_master(),
        )
    }

    fn schedule(
        &self,
        store: &StoreHandles,
        tables: &Tables,
        levels: i32,
    ) -> Result<Schedule, StartError> {
        let (file, offsets) = tables.delay_offsets().map_err(StartError::Table)?;
        let config = self.config.load();
        let step = config.broker.delay_offset_update_version_step;
        let offsets = offsets.unwrap_or_default();
        let step = u64::try_from(step).unwrap_or(0);
        let offsets = Arc::new(DelayOffsets::new(levels, &offsets, step));
        let every = config.store.flush_delay_offset_interval_ms.max(100);
        let parts = SchedulerParts {
            store: store.clone(),
            permits: self.permits.clone(),
            file: Arc::new(Mutex::new(file)),
            offsets: Arc::clone(&offsets),
            persist_every: Duration::from_millis(every as u64),
            delivers: self.config.load().is_master(),
        };
        let arbiter = self.threads.get(Role::Misc);
        let policy = self.tree.restart_policy();
        let (parent, kind) = ("broker/delivery", "schedule");
        let actor = spawn(
            self.tree,
            parent,
            "schedule",
            kind,
            &arbiter,
            policy,
            move |cell| Scheduler::recover(cell, parts),
        );
        Ok(Schedule { offsets, actor })
    }

    /// The timer wheel; nothing with `timerWheelEnable=false`.
    fn timer(
        &self,
        store: &StoreHandles,
        tables: &Tables,
        timer_config: TimerConfig,
    ) -> Result<Option<Timer>, StartError> {
        let config = self.config.load();
        if !config.store.timer_wheel_enable {
            return Ok(None);
        }
        let (file, metrics) = tables.timer_metrics().map_err(StartError::Table)?;
        let marks = TimerMarks::new(metrics.unwrap_or_default(), timer_config.precision_ms);
        let marks = Arc::new(marks);
        let parts = TimerParts {
            store: store.clone(),
            permits: self.permits.clone(),
            fs: self.fs.clone(),
            config: timer_config,
            policy: self.config.derive(TimerPolicy::of),
            file: Arc::new(Mutex::new(file)),
            marks: Arc::clone(&marks),
            delivers: config.is_master(),
        };
        let arbiter = self.threads.get(Role::Timer);
        let policy = self.tree.restart_policy();
        let (parent, kind) = ("broker/delivery", "timer");
        let actor = spawn(
            self.tree,
            parent,
            "timer",
            kind,
            &arbiter,
            policy,
            move |cell| TimerActor::recover(cell, parts),
        );
        Ok(Some(Timer { marks, actor }))
    }
}

fn timer_config(config: &BrokerConfig, settings: &StoreSettings) -> TimerConfig {
    TimerConfig {
        root: settings.store.root.clone(),
        own_dir: settings.store.own_dir(),
        precision_ms: i64::from(config.store.timer_precision_ms),
        roll_window_slots: i64::from(config.store.timer_roll_window_slots),
        log_file_len: config.store.mapped_file_size_timer_log,
    }
}
