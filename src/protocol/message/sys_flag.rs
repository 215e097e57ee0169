//! The bits of a message's `sysFlag` (`MessageSysFlag`) and of a pull request's (`PullSysFlag`).

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The message has several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// Both bits of the transaction type.
pub const TRANSACTION_MASK: i32 = 0xC;
/// Transaction type: an ordinary message.
pub const TRANSACTION_NONE: i32 = 0x0;
/// Transaction type: a half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Transaction type: a half message that was committed.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Transaction type: a half message that was rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// The client has to unwrap an inner batch.
pub const NEED_UNWRAP: i32 = 0x40;
/// The body is an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// The bits of the compression type.
pub const COMPRESSION_MASK: i32 = 0x700;
/// Compression type: LZ4.
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Compression type: Zstandard.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// Compression type: zlib; a compressed body without any type is zlib as well.
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// The transaction type of a message.
pub fn transaction_type(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// The flag with another transaction type.
pub fn with_transaction_type(sys_flag: i32, kind: i32) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | (kind & TRANSACTION_MASK)
}

/// The bits of the `sysFlag` of pull requests.
pub mod pull {
    /// The request carries an offset to commit.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The request may wait for messages.
    pub const SUSPEND: i32 = 0x2;
    /// The request carries its subscription.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// The subscription is a class filter (obsolete).
    pub const CLASS_FILTER: i32 = 0x8;
    /// The request comes from a lite pull consumer.
    pub const LITE_PULL: i32 = 0x10;
}

/// The bits of a topic's `topicSysFlag` (`TopicSysFlag`).
pub mod topic {
    /// The topic belongs to a unit.
    pub const UNIT: i32 = 0x1;
    /// The topic is subscribed by units.
    pub const UNIT_SUB: i32 = 0x2;
}
