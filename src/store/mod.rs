//! RocketMQ's files: bytes to files and back, without actors or sockets.

pub mod error;
pub mod fs;
pub mod mapped;

pub use error::StoreError;
