//! Consumer and producer groups: who is a member, what it subscribes to, who is told when that
//! changes.

pub mod allocate;
pub mod locks;
