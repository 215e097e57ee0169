//! queryMsgTraceById: what clients told about a message.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::{Context, time};
use crate::client::{ClientError, MessageExt};
use crate::protocol::message::names;
use crate::protocol::trace::{TraceEvent, TraceKind, events};

#[derive(Debug, Args)]
pub(super) struct QueryMsgTraceById {
    /// Message id.
    #[arg(short = 'i', long = "msgId")]
    msg_id: String,
    /// Topic of the traces.
    #[arg(short = 't', long = "traceTopic", default_value = names::TRACE_TOPIC)]
    trace_topic: String,
    /// Stored from, ms.
    #[arg(short, long = "beginTimestamp", default_value_t = 0)]
    begin_timestamp: i64,
    /// Stored until, ms.
    #[arg(short, long = "endTimestamp", default_value_t = i64::MAX)]
    end_timestamp: i64,
    /// Trace messages at most.
    #[arg(short = 'c', long = "maxNum", default_value_t = 64)]
    max_num: i32,
}

impl QueryMsgTraceById {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (topic, id) = (self.trace_topic.trim(), self.msg_id.trim());
        let (begin, end) = (self.begin_timestamp, self.end_timestamp);
        let carriers = ctx
            .admin
            .messages_by_key(topic, id, self.max_num, begin, end)
            .await?;
        let mut sent = Vec::new();
        let mut consumed: BTreeMap<String, Vec<View>> = BTreeMap::new();
        for view in carriers.iter().flat_map(|carrier| views(carrier, id)) {
            match view.event.kind {
                TraceKind::Pub { .. } => sent.push(view),
                TraceKind::SubAfter { .. } => {
                    consumed
                        .entry(view.event.group.clone())
                        .or_default()
                        .push(view);
                }
                _ => {}
            }
        }
        let value = json!({
            "sent": sent.iter().map(View::to_value).collect::<Vec<_>>(),
            "consumed": consumed.values().flatten().map(View::to_value).collect::<Vec<_>>(),
        });
        ctx.out.show(&value, || {
            for view in &sent {
                print_head("#ProducerGroup", "#SendTime");
                view.print("Pub");
                println!();
            }
            for views in consumed.values() {
                print_head("#ConsumerGroup", "#ConsumerTime");
                views.iter().for_each(|view| view.print("Sub"));
                println!();
            }
        });
        Ok(())
    }
}

/// An event, and the client that told it.
struct View {
    event: TraceEvent,
    client: String,
}

fn views(carrier: &MessageExt, id: &str) -> Vec<View> {
    let body = String::from_utf8_lossy(&carrier.body);
    let of_message = events(&body).filter(|event| event.message_id == id);
    of_message
        .map(|event| View {
            event,
            client: carrier.born_host.ip().to_string(),
        })
        .collect()
}

fn print_head(group: &str, when: &str) {
    let (kind, client, cost, status) = ("#Type", "#ClientHost", "#CostTimes", "#Status");
    println!("{kind:<10} {group:<20} {client:<20} {when:<20} {cost:<10} {status:<10}");
}

impl View {
    /// Cost in ms and outcome.
    fn outcome(&self) -> (i32, &'static str) {
        let (cost_ms, success) = match self.event.kind {
            TraceKind::Pub {
                cost_ms, success, ..
            } => (cost_ms, success),
            TraceKind::SubAfter {
                cost_ms, success, ..
            } => (cost_ms, success),
            _ => (0, false),
        };
        (cost_ms, if success { "success" } else { "failed" })
    }

    fn print(&self, kind: &str) {
        let (group, client) = (&self.event.group, &self.client);
        let when = time::with_seconds(self.event.time_ms);
        let (cost, status) = self.outcome();
        let cost = format!("{cost}ms");
        println!("{kind:<10} {group:<20} {client:<20} {when:<20} {cost:<10} {status:<10}");
    }

    fn to_value(&self) -> Value {
        let (cost_ms, status) = self.outcome();
        json!({
            "group": self.event.group,
            "client": self.client,
            "time": self.event.time_ms,
            "costMs": cost_ms,
            "status": status,
        })
    }
}
