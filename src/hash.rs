//! The tables that are looked up for every message.
//!
//! The standard library's hash costs more than the rest of a look-up of a short name. This one is
//! seeded anew in every process, so that names which collide cannot be prepared.

use foldhash::fast::RandomState;

/// A map of one thread.
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A map that many threads read.
pub type DashMap<K, V> = dashmap::DashMap<K, V, RandomState>;
