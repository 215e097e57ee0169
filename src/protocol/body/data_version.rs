//! The version of a table that brokers and NameServers compare.

body! {
    /// How often and when a table changed. Two are the same when all three fields are.
    #[derive(Copy, Eq)]
    pub struct DataVersion {
        /// Changes since the broker's first start.
        counter: i64,
        /// State machine version of the store; 0 without controller.
        state_version: i64,
        /// When it last changed, ms.
        timestamp: i64,
    }
}

impl DataVersion {
    /// A version of this moment without changes.
    pub fn at(now_ms: i64) -> Self {
        Self {
            counter: 0,
            state_version: 0,
            timestamp: now_ms,
        }
    }

    /// Counts a change.
    pub fn next(&mut self, now_ms: i64, state_version: i64) {
        self.timestamp = now_ms;
        self.state_version = state_version;
        self.counter += 1;
    }
}
