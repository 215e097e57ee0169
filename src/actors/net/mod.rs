//! The net actors.
