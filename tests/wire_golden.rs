//! Frames captured between the real RocketMQ 5.4.0 and its clients are read as the capture says,
//! and what is written from them is what was read.
//!
//! The frames are not part of this repository. They are looked for in `golden/wire` below the
//! folder named by `CALLBOARD_SHARED`, or below `../shared`. Without them nothing is checked, and
//! the test says so.

use bytes::BytesMut;
use callboard::protocol::body::{
    self, assignment, auth, connection, heartbeat, list, lock, offset,
};
use callboard::protocol::body::{query, route, running_info, stats, subscription_group};
use callboard::protocol::fastjson::{self, Value};
use callboard::protocol::header::{admin, client, group, namesrv, offset as offsets, pop, pull};
use callboard::protocol::header::{query as queries, send, topic, transaction};
use callboard::protocol::language::version;
use callboard::protocol::message::{batch, record};
use callboard::protocol::{
    CommandHeader, ExtFields, LanguageCode, RemotingCommand, RequestCode, SerializeType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// One line of the index: what the capture says about a frame.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    file: String,
    kind: String,
    code: i32,
    #[serde(default)]
    request_code: Option<i32>,
    opaque: i32,
    flag: i32,
    oneway: bool,
    serialize: String,
    language: String,
    version: i32,
    remark: Option<String>,
    ext_fields: Option<BTreeMap<String, String>>,
    body_len: usize,
    #[serde(default)]
    body_kind: Option<String>,
    #[serde(default)]
    messages: Vec<ExpectedMessage>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpectedMessage {
    size: usize,
    topic: String,
    queue_id: i32,
    queue_offset: i64,
    physical_offset: i64,
    sys_flag: i32,
    flag: i32,
    reconsume_times: i32,
    body_len: usize,
}

struct Golden {
    expected: Expected,
    bytes: BytesMut,
    command: RemotingCommand,
}

impl Golden {
    fn is_request(&self) -> bool {
        self.expected.kind == "request"
    }

    /// The code of the request that this frame is or answers; cut codes are restored.
    fn request_code(&self) -> RequestCode {
        let code = self.expected.request_code.unwrap_or(self.expected.code);
        let code = callboard::protocol::codes::restore_truncated_code(code);
        RequestCode::from_code(code).unwrap_or_else(|| panic!("{}: code {code}", self.file()))
    }

    fn file(&self) -> &str {
        &self.expected.file
    }

    fn is_from_java(&self) -> bool {
        self.command.language == LanguageCode::JAVA
    }
}

fn golden_folder() -> PathBuf {
    let shared = std::env::var_os("CALLBOARD_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    shared.join("golden")
}

fn golden() -> Vec<Golden> {
    let folder = golden_folder().join("wire");
    let Ok(index) = std::fs::read(folder.join("index.json")) else {
        println!("CONFORMANCE NOT RUN: golden frames not found");
        return Vec::new();
    };
    let index: Vec<Expected> = serde_json::from_slice(&index).expect("the index is readable");
    let read = |expected: Expected| {
        let bytes = std::fs::read(folder.join(&expected.file)).expect("the frame is there");
        let bytes = BytesMut::from(bytes.as_slice());
        let command = RemotingCommand::decode(bytes.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", expected.file));
        Golden {
            expected,
            bytes,
            command,
        }
    };
    index.into_iter().map(read).collect()
}

#[test]
fn frames_are_read_as_captured() {
    for golden in golden() {
        let (expected, command, file) = (&golden.expected, &golden.command, golden.file());
        assert_eq!(command.code, expected.code, "{file}");
        assert_eq!(command.opaque, expected.opaque, "{file}");
        assert_eq!(command.flag, expected.flag, "{file}");
        assert_eq!(command.is_oneway(), expected.oneway, "{file}");
        assert_eq!(command.is_response(), !golden.is_request(), "{file}");
        assert_eq!(command.serialize_type.name(), expected.serialize, "{file}");
        assert_eq!(command.language.name(), expected.language, "{file}");
        assert_eq!(command.version, expected.version, "{file}");
        let remark = command
            .remark
            .as_deref()
            .filter(|remark| !remark.is_empty());
        assert_eq!(
            remark,
            expected.remark.as_deref().filter(|r| !r.is_empty()),
            "{file}"
        );
        let fields: ExtFields = expected.ext_fields.iter().flatten().collect();
        assert_eq!(command.ext_fields, fields, "{file}");
        assert_eq!(command.body.len(), expected.body_len, "{file}");
    }
}

/// Java's frames come out byte for byte; Go's, whose keys stand in another order, with the same
/// content.
#[test]
fn frames_are_written_as_captured() {
    let mut same = 0;
    for golden in golden() {
        let mut out = BytesMut::new();
        golden.command.encode(&mut out);
        let empty_map = golden
            .expected
            .ext_fields
            .as_ref()
            .is_some_and(BTreeMap::is_empty);
        let json = golden.command.serialize_type == SerializeType::Json;
        if golden.is_from_java() && !(json && empty_map) {
            assert_eq!(out, golden.bytes, "{}", golden.file());
            same += 1;
        }
        let again = RemotingCommand::decode(out).expect("our own frame is readable");
        assert_eq!(again, golden.command, "{}", golden.file());
    }
    println!("{same} frames came out byte for byte");
}

/// Fields that any request may carry beside those of its header, and fields of answers that are
/// no part of their header.
const EXTRA_FIELDS: &[&str] = &[
    "ReqT",
    "ns",
    "nsd",
    "bname",
    "oway",
    "lo",
    "MSG_REGION",
    "TRACE_ON",
    "n",
    "IS_SUPPORT_HEART_BEAT_V2",
    "IS_SUB_CHANGE",
    "__ZONE_NAME",
    "__ZONE_MODE",
];

/// Reads a header and writes it again: nothing is lost, and nothing is added but defaults.
fn check_header<H: CommandHeader>(golden: &Golden) {
    let (fields, file) = (&golden.command.ext_fields, golden.file());
    let header = H::decode(fields).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut written = ExtFields::new();
    header.for_each_field(&mut |key, value| written.push_value(key, value));
    for (key, value) in fields.iter() {
        match written.get(key) {
            Some(ours) => assert_eq!(ours, value, "{file}: {key}"),
            None => assert!(EXTRA_FIELDS.contains(&key), "{file}: {key}={value} is lost"),
        }
    }
    for (key, value) in written.iter().filter(|(key, _)| !fields.contains(key)) {
        let default = matches!(value, "0" | "false" | "-1" | "true");
        assert!(default, "{file}: {key}={value} is invented");
    }
    assert_eq!(
        H::decode_lenient(fields).for_each(),
        header.for_each(),
        "{file}"
    );
}

trait Listed {
    fn for_each(&self) -> Vec<(String, String)>;
}

impl<H: CommandHeader> Listed for H {
    fn for_each(&self) -> Vec<(String, String)> {
        let mut all = ExtFields::new();
        self.for_each_field(&mut |key, value| all.push_value(key, value));
        all.iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Sending is read through the function that takes any names.
fn check_send(golden: &Golden) {
    let fields = &golden.command.ext_fields;
    send::SendMessageRequestHeader::of_request(golden.request_code(), fields)
        .unwrap_or_else(|error| panic!("{}: {error}", golden.file()));
    if fields.contains("a") {
        check_header::<send::SendMessageRequestHeaderV2>(golden);
    } else {
        check_header::<send::SendMessageRequestHeader>(golden);
    }
}

/// Checks the header of a request; `false` if its code has none.
fn check_request_header(golden: &Golden) -> bool {
    use RequestCode as C;
    match golden.request_code() {
        C::SendMessage | C::SendMessageV2 | C::SendBatchMessage => check_send(golden),
        C::SendReplyMessage | C::SendReplyMessageV2 => check_send(golden),
        C::PushReplyMessageToClient => check_header::<send::ReplyMessageRequestHeader>(golden),
        C::RecallMessage => check_header::<send::RecallMessageRequestHeader>(golden),
        C::PullMessage | C::LitePullMessage => {
            check_header::<pull::PullMessageRequestHeader>(golden);
        }
        C::QueryMessage => check_header::<queries::QueryMessageRequestHeader>(golden),
        C::ViewMessageById => check_header::<queries::ViewMessageRequestHeader>(golden),
        C::QueryConsumeQueue => check_header::<queries::QueryConsumeQueueRequestHeader>(golden),
        C::QueryConsumerOffset => {
            check_header::<offsets::QueryConsumerOffsetRequestHeader>(golden);
        }
        C::UpdateConsumerOffset => {
            check_header::<offsets::UpdateConsumerOffsetRequestHeader>(golden);
        }
        C::SearchOffsetByTimestamp => check_header::<offsets::SearchOffsetRequestHeader>(golden),
        C::GetMaxOffset => check_header::<offsets::GetMaxOffsetRequestHeader>(golden),
        C::GetMinOffset => check_header::<offsets::GetMinOffsetRequestHeader>(golden),
        C::GetEarliestMsgStoretime => {
            check_header::<offsets::GetEarliestMsgStoretimeRequestHeader>(golden);
        }
        C::UnregisterClient => check_header::<client::UnregisterClientRequestHeader>(golden),
        C::ConsumerSendMsgBack => check_header::<client::ConsumerSendMsgBackRequestHeader>(golden),
        C::GetConsumerListByGroup => {
            check_header::<client::GetConsumerListByGroupRequestHeader>(golden);
        }
        C::NotifyConsumerIdsChanged => {
            check_header::<client::NotifyConsumerIdsChangedRequestHeader>(golden);
        }
        C::GetConsumerConnectionList => {
            check_header::<client::GetConsumerConnectionListRequestHeader>(golden);
        }
        C::GetProducerConnectionList => {
            check_header::<client::GetProducerConnectionListRequestHeader>(golden);
        }
        C::GetConsumerRunningInfo => {
            check_header::<client::GetConsumerRunningInfoRequestHeader>(golden);
        }
        C::ConsumeMessageDirectly => {
            check_header::<client::ConsumeMessageDirectlyResultRequestHeader>(golden);
        }
        C::EndTransaction => check_header::<transaction::EndTransactionRequestHeader>(golden),
        C::CheckTransactionState => {
            check_header::<transaction::CheckTransactionStateRequestHeader>(golden);
        }
        C::PopMessage => check_header::<pop::PopMessageRequestHeader>(golden),
        C::AckMessage => check_header::<pop::AckMessageRequestHeader>(golden),
        _ => return check_admin_header(golden),
    }
    true
}

fn check_admin_header(golden: &Golden) -> bool {
    use RequestCode as C;
    match golden.request_code() {
        C::UpdateAndCreateTopic | C::UpdateAndCreateStaticTopic => {
            check_header::<topic::CreateTopicRequestHeader>(golden);
        }
        C::GetAllTopicConfig => check_header::<topic::GetAllTopicConfigRequestHeader>(golden),
        C::GetTopicConfig => check_header::<topic::GetTopicConfigRequestHeader>(golden),
        C::DeleteTopicInBroker => check_header::<topic::DeleteTopicRequestHeader>(golden),
        C::GetTopicStatsInfo => check_header::<topic::GetTopicStatsInfoRequestHeader>(golden),
        C::QueryTopicConsumeByWho => {
            check_header::<topic::QueryTopicConsumeByWhoRequestHeader>(golden);
        }
        C::GetAllSubscriptiongroupConfig => {
            check_header::<group::GetAllSubscriptionGroupRequestHeader>(golden);
        }
        C::DeleteSubscriptiongroup => {
            check_header::<group::DeleteSubscriptionGroupRequestHeader>(golden);
        }
        C::GetConsumeStats => check_header::<group::GetConsumeStatsRequestHeader>(golden),
        C::GetBrokerConsumeStats => check_header::<group::GetConsumeStatsInBrokerHeader>(golden),
        C::InvokeBrokerToResetOffset => check_header::<group::ResetOffsetRequestHeader>(golden),
        C::ViewBrokerStatsData => {
            check_header::<admin::ViewBrokerStatsDataRequestHeader>(golden);
        }
        C::CheckRocksdbCqWriteProgress => {
            check_header::<admin::CheckRocksdbCqWriteProgressRequestHeader>(golden);
        }
        C::ResetMasterFlushOffset => check_header::<admin::ResetMasterFlushOffsetHeader>(golden),
        C::SetCommitlogReadMode => check_header::<admin::SetCommitLogReadModeRequestHeader>(golden),
        C::PutKvConfig => check_header::<namesrv::PutKvConfigRequestHeader>(golden),
        C::GetKvConfig => check_header::<namesrv::GetKvConfigRequestHeader>(golden),
        C::DeleteKvConfig => check_header::<namesrv::DeleteKvConfigRequestHeader>(golden),
        C::RegisterBroker => check_header::<namesrv::RegisterBrokerRequestHeader>(golden),
        C::UnregisterBroker => check_header::<namesrv::UnRegisterBrokerRequestHeader>(golden),
        C::GetRouteinfoByTopic => check_header::<namesrv::GetRouteInfoRequestHeader>(golden),
        C::WipeWritePermOfBroker => {
            check_header::<namesrv::WipeWritePermOfBrokerRequestHeader>(golden);
        }
        C::AddWritePermOfBroker => {
            check_header::<namesrv::AddWritePermOfBrokerRequestHeader>(golden);
        }
        C::DeleteTopicInNamesrv => {
            check_header::<namesrv::DeleteTopicFromNamesrvRequestHeader>(golden);
        }
        C::AuthCreateUser | C::AuthUpdateUser | C::AuthDeleteUser | C::AuthGetUser => {
            check_header::<callboard::protocol::header::auth::UserRequestHeader>(golden);
        }
        C::AuthListUser => {
            check_header::<callboard::protocol::header::auth::ListUsersRequestHeader>(golden);
        }
        C::AuthCreateAcl | C::AuthGetAcl => {
            check_header::<callboard::protocol::header::auth::AclRequestHeader>(golden);
        }
        C::AuthDeleteAcl => {
            check_header::<callboard::protocol::header::auth::DeleteAclRequestHeader>(golden);
        }
        C::AuthListAcl => {
            check_header::<callboard::protocol::header::auth::ListAclsRequestHeader>(golden);
        }
        _ => return false,
    }
    true
}

/// Checks the header of an answer; `false` if it has none.
fn check_response_header(golden: &Golden) -> bool {
    use RequestCode as C;
    match golden.request_code() {
        C::SendMessage | C::SendMessageV2 | C::SendBatchMessage => {
            check_header::<send::SendMessageResponseHeader>(golden);
        }
        C::SendReplyMessageV2 => check_header::<send::SendMessageResponseHeader>(golden),
        C::RecallMessage => check_header::<send::RecallMessageResponseHeader>(golden),
        C::PullMessage | C::LitePullMessage => {
            check_header::<pull::PullMessageResponseHeader>(golden);
        }
        C::QueryMessage => check_header::<queries::QueryMessageResponseHeader>(golden),
        C::QueryConsumerOffset | C::SearchOffsetByTimestamp | C::GetMaxOffset | C::GetMinOffset => {
            check_header::<offsets::OffsetResponseHeader>(golden)
        }
        C::GetEarliestMsgStoretime => {
            check_header::<offsets::GetEarliestMsgStoretimeResponseHeader>(golden);
        }
        C::GetAllTopicConfig => check_header::<topic::GetAllTopicConfigResponseHeader>(golden),
        C::GetAllSubscriptiongroupConfig => {
            check_header::<group::GetAllSubscriptionGroupResponseHeader>(golden);
        }
        C::GetBrokerConfig => check_header::<admin::GetBrokerConfigResponseHeader>(golden),
        C::GetKvConfig => check_header::<namesrv::GetKvConfigResponseHeader>(golden),
        C::RegisterBroker => check_header::<namesrv::RegisterBrokerResponseHeader>(golden),
        C::WipeWritePermOfBroker => {
            check_header::<namesrv::WipeWritePermOfBrokerResponseHeader>(golden);
        }
        C::AddWritePermOfBroker => {
            check_header::<namesrv::AddWritePermOfBrokerResponseHeader>(golden);
        }
        C::PopMessage => check_header::<pop::PopMessageResponseHeader>(golden),
        _ => return false,
    }
    true
}

#[test]
fn headers_are_read_and_written() {
    let mut checked = 0;
    for golden in golden() {
        if golden.is_request() {
            if check_request_header(&golden) {
                checked += 1;
            } else {
                let known = golden
                    .command
                    .ext_fields
                    .iter()
                    .all(|(k, _)| EXTRA_FIELDS.contains(&k));
                assert!(known, "{}: fields but no header", golden.file());
            }
        } else if golden.command.code == 0 && !golden.command.ext_fields.is_empty() {
            let known = golden
                .command
                .ext_fields
                .iter()
                .all(|(k, _)| EXTRA_FIELDS.contains(&k));
            assert!(
                known || check_response_header(&golden),
                "{}: no header",
                golden.file()
            );
            checked += 1;
        }
    }
    println!("{checked} headers were read and written");
}

/// The same value with the entries of all objects in the order of their keys. Numbers are keys
/// with or without quotes, as the asker wants it.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries
                .into_iter()
                .map(
                    |(key, value)| match key.as_str().and_then(|text| text.parse().ok()) {
                        Some(number) => (Value::Int(number), sorted(value)),
                        None => (sorted(key), sorted(value)),
                    },
                )
                .collect();
            entries.sort_by_cached_key(|(key, _)| match key {
                Value::Int(number) => (*number, String::new()),
                key => (0, fastjson::to_string(key).expect("a key has a text")),
            });
            Value::Object(entries)
        }
        other => other,
    }
}

/// Whether `part` has nothing that `whole` has not.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(key, part)| {
            whole
                .iter()
                .any(|(known, whole)| known == key && contains(whole, part))
        }),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| contains(w, p))
        }
        (whole, part) => whole == part,
    }
}

/// Reads a body and writes it again: nothing is lost, and to those of Java 5.4 nothing is added.
/// Other peers leave out what they do not know or what is default.
fn check_body<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(golden: &Golden) {
    let (bytes, file) = (&golden.command.body, golden.file());
    let theirs: Value = fastjson::from_slice(bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
    let typed: T = fastjson::from_slice(bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
    let written = fastjson::to_vec(&typed).expect("a body can be written");
    let ours: Value = fastjson::from_slice(&written).expect("our own body is readable");
    assert_eq!(
        ours,
        sorted(ours.clone()),
        "{file}: keys are in alphabetic order"
    );
    let theirs = sorted(theirs);
    if golden.is_from_java() && golden.command.version == version::V5_4_0 {
        assert_eq!(ours, theirs, "{file}");
    } else {
        assert!(
            contains(&ours, &theirs),
            "{file}: {ours:?} misses some of {theirs:?}"
        );
    }
    for style in [fastjson::Style::Pretty, fastjson::Style::Standard] {
        let styled = fastjson::to_vec_styled(&typed, style).expect("a body can be written");
        if let Ok(again) = fastjson::from_slice::<T>(&styled) {
            assert_eq!(again, typed, "{file}: {style:?}");
        } else {
            // Standard JSON has no objects as keys; nobody sends such a body in that style.
            assert_eq!(style, fastjson::Style::Standard, "{file}");
        }
    }
}

/// Checks the JSON body of a request; `false` if there is no type for it.
fn check_request_body(golden: &Golden) -> bool {
    use RequestCode as C;
    match golden.request_code() {
        C::UpdateAndCreateTopicList => {
            check_body::<body::topic_config::CreateTopicListRequestBody>(golden);
        }
        C::HeartBeat => check_body::<heartbeat::HeartbeatData>(golden),
        C::LockBatchMq | C::UnlockBatchMq => check_body::<lock::LockBatchRequestBody>(golden),
        C::CheckClientConfig => check_body::<heartbeat::CheckClientRequestBody>(golden),
        C::RegisterBroker => check_body::<body::register_broker::RegisterBrokerBody>(golden),
        C::UpdateAndCreateSubscriptiongroup => {
            check_body::<subscription_group::SubscriptionGroupConfig>(golden);
        }
        C::UpdateAndCreateSubscriptiongroupList => {
            check_body::<subscription_group::SubscriptionGroupList>(golden);
        }
        C::QueryAssignment => check_body::<assignment::QueryAssignmentRequestBody>(golden),
        C::SetMessageRequestMode => {
            check_body::<assignment::SetMessageRequestModeRequestBody>(golden);
        }
        C::UpdateAndCreateStaticTopic => {
            check_body::<body::topic_queue_mapping::TopicQueueMappingDetail>(golden);
        }
        C::AuthCreateUser | C::AuthUpdateUser => check_body::<auth::UserInfo>(golden),
        C::AuthCreateAcl => check_body::<auth::AclInfo>(golden),
        _ => return false,
    }
    true
}

/// Checks the JSON body of an answer; `false` if there is no type for it.
fn check_response_body(golden: &Golden) -> bool {
    use RequestCode as C;
    match golden.request_code() {
        C::GetAllTopicConfig => {
            check_body::<body::topic_config::TopicConfigAndMappingSerializeWrapper>(golden);
        }
        C::GetTopicConfig => {
            check_body::<body::topic_config::TopicConfigAndQueueMapping>(golden);
        }
        C::GetBrokerRuntimeInfo | C::RegisterBroker => check_body::<stats::KvTable>(golden),
        C::GetConsumerListByGroup => {
            check_body::<list::GetConsumerListByGroupResponseBody>(golden);
        }
        C::LockBatchMq => check_body::<lock::LockBatchResponseBody>(golden),
        C::GetAllConsumerOffset => check_body::<offset::ConsumerOffsetTable>(golden),
        C::GetAllDelayOffset => check_body::<offset::DelayOffsetTable>(golden),
        C::GetTimerMetrics => check_body::<body::files::TimerMetrics>(golden),
        C::GetRouteinfoByTopic => check_body::<route::TopicRouteData>(golden),
        C::GetBrokerClusterInfo => check_body::<route::ClusterInfo>(golden),
        C::GetAllSubscriptiongroupConfig => {
            check_body::<subscription_group::SubscriptionGroupWrapper>(golden);
        }
        C::GetTopicStatsInfo => check_body::<stats::TopicStatsTable>(golden),
        C::GetConsumerConnectionList => check_body::<connection::ConsumerConnection>(golden),
        C::GetProducerConnectionList => check_body::<connection::ProducerConnection>(golden),
        C::GetAllProducerInfo => check_body::<connection::ProducerTableInfo>(golden),
        C::GetAllTopicListFromNameserver | C::GetSystemTopicListFromBroker => {
            check_body::<list::TopicList>(golden);
        }
        C::GetConsumeStats => check_body::<stats::ConsumeStats>(golden),
        C::GetBrokerConsumeStats => check_body::<stats::ConsumeStatsList>(golden),
        C::InvokeBrokerToResetOffset => check_body::<offset::ResetOffsetBody>(golden),
        C::QueryTopicConsumeByWho => check_body::<list::GroupList>(golden),
        C::GetConsumerRunningInfo => check_body::<running_info::ConsumerRunningInfo>(golden),
        C::ConsumeMessageDirectly => {
            check_body::<running_info::ConsumeMessageDirectlyResult>(golden);
        }
        C::ViewBrokerStatsData => check_body::<stats::BrokerStatsData>(golden),
        C::QueryConsumeQueue => check_body::<query::QueryConsumeQueueResponseBody>(golden),
        C::CheckRocksdbCqWriteProgress => check_body::<query::CheckRocksdbCqWriteResult>(golden),
        C::QueryAssignment => check_body::<assignment::QueryAssignmentResponseBody>(golden),
        C::GetAllMessageRequestMode => {
            check_body::<assignment::MessageRequestModeSerializeWrapper>(golden);
        }
        C::GetBrokerHaStatus => check_body::<body::ha::HaRuntimeInfo>(golden),
        // Put together by the broker, not a body of the protocol.
        C::GetColdDataFlowCtrInfo => {
            let read = fastjson::from_slice::<Value>(&golden.command.body);
            assert!(read.is_ok(), "{}", golden.file());
        }
        _ => return false,
    }
    true
}

#[test]
fn json_bodies_are_read_and_written() {
    let mut checked = 0;
    for golden in golden() {
        if golden.expected.body_kind.as_deref() != Some("json") {
            continue;
        }
        let known = if golden.is_request() {
            check_request_body
        } else {
            check_response_body
        }(&golden);
        assert!(known, "{}: no type for this body", golden.file());
        checked += 1;
    }
    println!("{checked} bodies were read and written");
}

#[test]
fn messages_are_read_and_written() {
    let mut checked = 0;
    for golden in golden() {
        if golden.expected.body_kind.as_deref() != Some("messages") {
            continue;
        }
        let file = golden.file();
        let mut written = BytesMut::new();
        let mut read = Vec::new();
        for view in record::records(&golden.command.body) {
            let view = view.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(record::body_crc(view.body), view.body_crc, "{file}");
            let start = written.len();
            record::encode_record(&view.to_new(), &mut written).expect("fits");
            let (queue, physical) = (view.queue_offset, view.physical_offset);
            record::patch_record(&mut written[start..], queue, physical, view.store_timestamp);
            read.push(ExpectedMessage {
                size: view.size,
                topic: view.topic.to_owned(),
                queue_id: view.queue_id,
                queue_offset: view.queue_offset,
                physical_offset: view.physical_offset,
                sys_flag: view.sys_flag,
                flag: view.flag,
                reconsume_times: view.reconsume_times,
                body_len: view.body.len(),
            });
        }
        assert_eq!(written, golden.command.body, "{file}");
        assert_eq!(read, golden.expected.messages, "{file}");
        checked += 1;
    }
    println!("{checked} bodies of messages were read and written");
}

#[test]
fn batches_are_read_and_written() {
    for golden in golden() {
        if golden.is_request() && golden.request_code() == RequestCode::SendBatchMessage {
            let messages = batch::decode(&golden.command.body).expect("a batch is readable");
            assert!(messages.len() > 1, "{}", golden.file());
            let mut written = BytesMut::new();
            for message in &messages {
                batch::encode_message(message, &mut written).expect("fits");
            }
            assert_eq!(written, golden.command.body, "{}", golden.file());
        }
    }
}

/// The files below `config/` of the captured stores, with the names of their archives.
fn config_files() -> Vec<(String, Vec<u8>)> {
    let Ok(folder) = std::fs::read_dir(golden_folder().join("store")) else {
        println!("CONFORMANCE NOT RUN: golden stores not found");
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in folder.map(|entry| entry.expect("the folder is readable")) {
        let archive = entry.file_name().into_string().expect("a plain name");
        if !archive.ends_with(".tar.gz") {
            continue;
        }
        let bytes = std::fs::read(entry.path()).expect("the archive is readable");
        let mut tar = flate2::read::GzDecoder::new(bytes.as_slice());
        let mut header = [0; 512];
        while tar.read_exact(&mut header).is_ok() && header[0] != 0 {
            let text = |range: std::ops::Range<usize>| {
                String::from_utf8_lossy(&header[range])
                    .trim_end_matches(['\0', ' '])
                    .to_owned()
            };
            let size = u64::from_str_radix(&text(124..136), 8).expect("a size in octal");
            let mut content = Vec::new();
            let mut padded = (&mut tar).take(size.next_multiple_of(512));
            padded
                .read_to_end(&mut content)
                .expect("the archive is whole");
            content.truncate(size as usize);
            let name = text(0..100);
            if name.contains("/config/") && !content.is_empty() {
                files.push((format!("{archive}: {name}"), content));
            }
        }
    }
    files
}

/// Reads a file and writes it again. Its tables stand in the order of a hash map, ours in that of
/// their keys, so the bytes are compared with those of the same value in the file's order.
fn check_file<T: DeserializeOwned + Serialize>(name: &str, content: &[u8], style: fastjson::Style) {
    let typed: T = fastjson::from_slice(content).unwrap_or_else(|e| panic!("{name}: {e}"));
    let value: Value = fastjson::from_slice(content).unwrap_or_else(|e| panic!("{name}: {e}"));
    let ours = fastjson::to_vec_styled(&typed, style).expect("a file can be written");
    let ours_as_value: Value = fastjson::from_slice(&ours).expect("our own file is readable");
    assert_eq!(
        sorted(ours_as_value.clone()),
        sorted(value.clone()),
        "{name}"
    );
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let layout = fastjson::to_vec_styled(&value, style).expect("a file can be written");
    if ours_as_value == value {
        assert_eq!(text(&ours), text(content), "{name}");
    } else {
        assert_eq!(text(&layout), text(content), "{name}");
    }
}

#[test]
fn config_files_are_read_and_written() {
    use fastjson::Style::{Compact, Pretty};
    let mut checked = 0;
    for (name, content) in config_files() {
        let file = name
            .rsplit('/')
            .next()
            .unwrap_or("")
            .trim_end_matches(".bak");
        let (name, content) = (name.as_str(), content.as_slice());
        match file {
            "topics.json" => {
                check_file::<body::topic_config::TopicConfigSerializeWrapper>(
                    name, content, Pretty,
                );
            }
            "subscriptionGroup.json" => {
                check_file::<subscription_group::SubscriptionGroupWrapper>(name, content, Pretty);
            }
            "consumerOffset.json" => {
                check_file::<offset::ConsumerOffsetTable>(name, content, Pretty);
            }
            "delayOffset.json" => check_file::<offset::DelayOffsetTable>(name, content, Pretty),
            "consumerFilter.json" => {
                check_file::<body::files::ConsumerFilterTable>(name, content, Pretty);
            }
            "timermetrics" => check_file::<body::files::TimerMetrics>(name, content, Compact),
            "transactionMetrics" => {
                check_file::<body::files::TransactionMetrics>(name, content, Compact);
            }
            _ => continue,
        }
        checked += 1;
    }
    println!("{checked} files were read and written");
}
