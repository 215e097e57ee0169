//! Who owns what, and when: the supervised actors of a NameServer and a broker.

pub mod broker;
pub mod delivery;
pub mod groups;
pub mod ha;
pub mod kernel;
pub mod namesrv;
pub mod net;
pub mod store;
