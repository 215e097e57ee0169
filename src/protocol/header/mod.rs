//! The typed headers of requests and responses, one file for each family.
//!
//! A field that is an `Option` may be absent, one with a default takes it; all others are
//! required, see [`super::command_header`]. Fields of primitive types in the reference
//! implementation have a default even where it marks them as required, because a missing one
//! never stops it. Codes without header fields have no type here.
//!
//! Any request may carry more: `ns`, `nsd`, `bname`, `oway`, `lo` of RPC headers, `ReqT`,
//! `AccessKey` and `Signature`. They are found in the frame's `extFields` by those who need them.

pub mod admin;
pub mod auth;
pub mod client;
pub mod group;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod send;
pub mod topic;
pub mod transaction;
