//! Consumer and producer groups: who is a member, what it subscribes to, who is told when that
//! changes.

pub mod allocate;
pub mod consumers;
pub mod info;
pub mod lock_writer;
pub mod locks;
pub mod member;
pub mod producers;
pub mod rebalancer;
pub mod scanner;

pub use consumers::ConsumerGroups;
pub use info::GroupInfo;
pub use member::Member;
pub use producers::ProducerGroups;

#[cfg(test)]
mod tests;
