//! What a NameServer knows, without actors and sockets: the tables, the rules by which they change,
//! and the file that a restart answers from. [`crate::actors::namesrv`] says who calls what, and when.

pub mod model;
pub mod registry;
pub mod snapshot;
pub mod tables;
