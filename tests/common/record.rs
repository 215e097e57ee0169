//! Stored message records as they come in pull answers (PROTOCOL: the commit log's layout).

/// The fields that the checks need.
#[derive(Clone, Debug)]
pub struct Record {
    pub size: i32,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub store_timestamp: i64,
    pub body: Vec<u8>,
    pub topic: String,
    pub properties: String,
}

impl Record {
    /// A property.
    /// Its offset in a light message queue, as the broker wrote it.
    pub fn light_offset(&self, queue: &str) -> Option<i64> {
        let names = self.property("INNER_MULTI_DISPATCH")?.split(',');
        let mut offsets = names.zip(self.property("INNER_MULTI_QUEUE_OFFSET")?.split(','));
        offsets.find(|(name, _)| *name == queue)?.1.parse().ok()
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        let mut entries = self.properties.split('\u{2}');
        entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('\u{1}'))
    }
}

/// Splits a pull answer's body; panics on anything but whole records.
pub fn parse_all(mut bytes: &[u8]) -> Vec<Record> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let size = int(bytes, 0) as usize;
        assert!(size <= bytes.len(), "a record of {size} in {}", bytes.len());
        all.push(parse(&bytes[..size]));
        bytes = &bytes[size..];
    }
    all
}

/// Parses one record and checks its CRC.
pub fn parse(b: &[u8]) -> Record {
    let magic = int(b, 4) as u32;
    assert!(
        magic == 0xDAA3_20A7 || magic == 0xDAA3_20AB,
        "magic {magic:#x}"
    );
    let sys_flag = int(b, 36);
    let born_v6 = if sys_flag & 0x10 != 0 { 12 } else { 0 };
    let store_v6 = if sys_flag & 0x20 != 0 { 12 } else { 0 };
    let mut at = 84 + born_v6 + store_v6;
    let body_len = int(b, at) as usize;
    let body = b[at + 4..at + 4 + body_len].to_vec();
    assert_eq!(
        int(b, 8) as u32,
        crc32fast::hash(&body) & 0x7FFF_FFFF,
        "body CRC"
    );
    at += 4 + body_len;
    let topic_len;
    if magic == 0xDAA3_20A7 {
        topic_len = b[at] as usize;
        at += 1;
    } else {
        topic_len = u16::from_be_bytes([b[at], b[at + 1]]) as usize;
        at += 2;
    }
    let topic = String::from_utf8(b[at..at + topic_len].to_vec()).expect("topic");
    at += topic_len;
    let properties_len = u16::from_be_bytes([b[at], b[at + 1]]) as usize;
    at += 2;
    let properties = String::from_utf8(b[at..at + properties_len].to_vec()).expect("properties");
    assert_eq!(
        at + properties_len,
        b.len(),
        "a record ends with its properties"
    );
    Record {
        size: int(b, 0),
        queue_id: int(b, 12),
        queue_offset: long(b, 20),
        physical_offset: long(b, 28),
        store_timestamp: long(b, 56 + born_v6),
        body,
        topic,
        properties,
    }
}

fn int(b: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(b[at..at + 4].try_into().expect("4 bytes"))
}

fn long(b: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(b[at..at + 8].try_into().expect("8 bytes"))
}
