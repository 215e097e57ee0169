//! A configuration that admin requests change while it is in use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};

use super::key::Scope;
use super::settings::{Settings, Unknown};
use super::{ConfigError, properties};

/// What broker and NameServer configurations have in common.
pub trait Config: Sized + Send + Sync + 'static {
    /// Keys that updates never touch, whatever the file's `configBlackList` says.
    const ALWAYS_REFUSED: &'static [&'static str];
    /// Makes the typed configuration; `file` is where updates are written.
    fn from_settings(settings: Settings, file: PathBuf) -> Result<Self, ConfigError>;
    /// All keys as text.
    fn settings(&self) -> &Settings;
    /// Where updates are written.
    fn file(&self) -> &Path;
    /// The keys of `configBlackList`, separated by `;`.
    fn black_list(&self) -> &str;

    /// Body of the "get configuration" requests: every key, sorted, one a line.
    fn to_properties(&self) -> String {
        self.settings().to_properties()
    }
}

/// What an update did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Updated {
    /// Keys that have a new value, with that value.
    pub changed: BTreeMap<String, String>,
    /// Those of them that take effect at the next start.
    pub after_restart: Vec<String>,
}

/// A configuration in use: read without waiting, replaced as a whole by [`Live::update`].
pub struct Live<C> {
    current: ArcSwap<C>,
    shown: Mutex<Shown>,
    followers: Mutex<Vec<Follower<C>>>,
}

/// Told of each configuration that comes into force.
type Follower<C> = Box<dyn Fn(&C) + Send + Sync>;

/// A value made from a configuration in use, and made anew with each update: reading it costs no lock.
pub type Derived<T> = Arc<ArcSwap<T>>;

/// What is shown to admin tools: also values that wait for a restart.
struct Shown {
    settings: Settings,
    counter: i64,
    timestamp_ms: i64,
}

impl<C: Config> Live<C> {
    /// Puts a configuration into use.
    pub fn new(config: C) -> Arc<Self> {
        let settings = config.settings().clone();
        let shown = Shown {
            settings,
            counter: 0,
            timestamp_ms: now_ms(),
        };
        Arc::new(Self {
            current: ArcSwap::from_pointee(config),
            shown: Mutex::new(shown),
            followers: Mutex::default(),
        })
    }

    /// The configuration as of now.
    pub fn load(&self) -> Guard<Arc<C>> {
        self.current.load()
    }

    /// The configuration as of now, to keep.
    pub fn load_full(&self) -> Arc<C> {
        self.current.load_full()
    }

    /// Calls `follower` with the configuration as of now and with that of every update, on the thread
    /// that updates: it must not block.
    pub fn follow(&self, follower: impl Fn(&C) + Send + Sync + 'static) {
        // An update waits for the lock on what is shown, so that none comes between.
        let _shown = lock(&self.shown);
        follower(&self.load());
        lock(&self.followers).push(Box::new(follower));
    }

    /// What `make` makes of the configuration, kept up to date.
    pub fn derive<T: Send + Sync + 'static>(
        &self,
        make: impl Fn(&C) -> T + Send + Sync + 'static,
    ) -> Derived<T> {
        let derived = Derived::new(ArcSwap::from_pointee(make(&self.load())));
        let own = Arc::clone(&derived);
        self.follow(move |config| own.store(Arc::new(make(config))));
        derived
    }

    /// Every key as text, values that wait for a restart included.
    pub fn to_properties(&self) -> String {
        lock(&self.shown).settings.to_properties()
    }

    /// Counter and time (milliseconds) of the last update: RocketMQ's data version of the
    /// configuration.
    pub fn version(&self) -> (i64, i64) {
        let shown = lock(&self.shown);
        (shown.counter, shown.timestamp_ms)
    }

    /// Applies a properties text: all of it, or nothing on an error. Unknown keys are logged and
    /// left out, as in RocketMQ. The changed keys are written into the configuration file, whose
    /// comments and other lines stay.
    ///
    /// # Errors
    /// [`ConfigError::BlackListed`] for a key that may not be changed, [`ConfigError::BadValue`],
    /// and [`ConfigError::Write`] when the file cannot be written; then nothing changed.
    pub fn update(&self, text: &[u8]) -> Result<Updated, ConfigError> {
        let mut shown = lock(&self.shown);
        let running = self.current.load_full();
        let listed = running.black_list().split(';').map(str::trim);
        let refused: Vec<&str> = C::ALWAYS_REFUSED.iter().copied().chain(listed).collect();
        for entry in properties::parse("update", text)? {
            if refused.contains(&entry.key.as_str()) {
                return Err(ConfigError::BlackListed { key: entry.key });
            }
        }
        let mut settings = shown.settings.clone();
        let applied = settings.apply("update", text, Unknown::Ignore)?;
        // Rules may refuse or adjust: they run over what the next start would see.
        let next = C::from_settings(settings, running.file().to_owned())?;
        let in_force = next.settings().in_force(running.settings());
        let in_force = C::from_settings(in_force, running.file().to_owned())?;
        if !applied.changed.is_empty() {
            write_back(running.file(), &applied.changed)?;
        }
        for warning in &applied.warnings {
            log::warn!("config {warning}");
        }
        let needs_restart = |name: &&String| {
            let key = next.settings().key(name);
            key.is_some_and(|key| key.scope == Scope::Start)
        };
        let after_restart: Vec<String> = applied
            .changed
            .keys()
            .filter(needs_restart)
            .cloned()
            .collect();
        for (key, value) in &applied.changed {
            log::info!("config updated {key}={value}");
        }
        if !after_restart.is_empty() {
            log::warn!(
                "config takes effect after a restart keys={}",
                after_restart.join(",")
            );
        }
        let kept = |name: &&String| {
            next.settings()
                .key(name)
                .is_some_and(|key| key.scope == Scope::Kept)
        };
        for name in applied.changed.keys().filter(kept) {
            log::warn!("config key without effect here key={name}");
        }
        shown.settings = next.settings().clone();
        shown.counter += 1;
        shown.timestamp_ms = now_ms();
        let in_force = Arc::new(in_force);
        self.current.store(Arc::clone(&in_force));
        for follower in lock(&self.followers).iter() {
            follower(&in_force);
        }
        Ok(Updated {
            changed: applied.changed,
            after_restart,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Sets keys in the file: written beside it, synced and renamed, so that a crash leaves either.
fn write_back(file: &Path, changes: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let old = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => {
            return Err(ConfigError::Read {
                file: file.display().to_string(),
                source,
            });
        }
    };
    let text = properties::edit(&old, changes)?;
    let written = (|| {
        use std::io::Write;
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut beside = file.as_os_str().to_owned();
        beside.push(".tmp");
        let mut out = std::fs::File::create(&beside)?;
        out.write_all(&text)?;
        out.sync_all()?;
        std::fs::rename(&beside, file)
    })();
    written.map_err(|source| ConfigError::Write {
        file: file.display().to_string(),
        source,
    })
}
