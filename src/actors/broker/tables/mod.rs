//! The broker's tables and the actors that bring them to disk: topics, groups, offsets and
//! expressions.
//!
//! Each table is published: any thread reads it without asking. Topics, with the mappings of static ones,
//! and groups are changed by their actors alone; offsets and expressions are written by whoever received them.

pub mod attributes;
pub mod filters;
pub mod mappings;
mod offset_key;
pub mod offset_table;
pub mod offsets;
pub mod subscriptions;
pub mod system_topics;
mod table_version;
pub mod topics;

pub use filters::Filters;
pub use offsets::Offsets;
pub use subscriptions::SubscriptionGroups;
pub use topics::Topics;

#[cfg(test)]
mod topics_tests;
