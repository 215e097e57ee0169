//! RocketMQ's files: bytes to files and back, without actors or sockets.

pub mod fs;
