//! The namesrv actors.
