//! Messages: how one is stored and delivered, its properties, its names and its identifiers.

pub mod batch;
pub mod id;
pub mod inner_batch;
pub mod keys;
pub mod multi_dispatch;
pub mod names;
pub mod perm;
pub mod properties;
pub mod recall;
pub mod receipt;
pub mod record;
pub mod sys_flag;
pub mod transaction;

pub use super::java::tags_code;
