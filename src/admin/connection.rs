//! Clients: consumerConnection, producerConnection, consumerStatus.

use clap::Args;
use serde_json::json;

use crate::admin::Context;
use crate::admin::group::group_connection;
use crate::client::ClientError;
use crate::protocol::fastjson;
use crate::protocol::language::version;

#[derive(Debug, Args)]
pub(super) struct ConsumerConnection {
    /// Group.
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: String,
    /// Broker address.
    #[arg(short, long = "brokerAddr")]
    broker_addr: Option<String>,
}

impl ConsumerConnection {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let group = self.consumer_group.trim();
        let connection = match &self.broker_addr {
            Some(addr) => ctx.admin.consumer_connection(addr.trim(), group).await?,
            None => group_connection(ctx, group).await?.1,
        };
        ctx.out.show(&connection, || {
            println!(
                "{:<36} {:<22} {:<10} #Version",
                "#ClientId", "#ClientAddr", "#Language"
            );
            for one in &connection.connection_set {
                let version = version::describe(one.version);
                let (id, addr, language) = (&one.client_id, &one.client_addr, &one.language);
                println!("{id:<36} {addr:<22} {language:<10} {version}");
            }
            println!("\nBelow is subscription:\n{:<20} #SubExpression", "#Topic");
            for data in connection.subscription_table.values() {
                println!("{:<20} {}", data.topic, data.sub_string);
            }
            println!("\nConsumeType: {}", connection.consume_type);
            println!("MessageModel: {}", connection.message_model);
            println!("ConsumeFromWhere: {}", connection.consume_from_where);
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct ProducerConnection {
    /// Group.
    #[arg(short = 'g', long = "producerGroup")]
    producer_group: String,
    /// Topic that it sends to.
    #[arg(short, long)]
    topic: String,
}

impl ProducerConnection {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (group, topic) = (self.producer_group.trim(), self.topic.trim());
        let mut found = Err(ClientError::NoRoute(topic.to_owned()));
        for (_, addr) in ctx.admin.topic_brokers(topic).await? {
            found = ctx.admin.producer_connection(&addr, group).await;
            if found.is_ok() {
                break;
            }
        }
        let connection = found?;
        ctx.out.show(&connection, || {
            for (index, one) in connection.connection_set.iter().enumerate() {
                let number = index + 1;
                let version = version::describe(one.version);
                let (id, addr, language) = (&one.client_id, &one.client_addr, &one.language);
                println!("{number:04}  {id:<32} {addr:<22} {language:<8} {version}");
            }
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct ConsumerStatus {
    /// Group.
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: String,
    /// Client; all clients of the group without it.
    #[arg(short = 'i', long = "clientId")]
    client_id: Option<String>,
    /// Broker address.
    #[arg(short, long = "brokerAddr")]
    broker_addr: Option<String>,
    /// Asks for the threads' stacks too.
    #[arg(short = 's', long)]
    jstack: bool,
}

impl ConsumerStatus {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let group = self.consumer_group.trim();
        let (addr, connection) = match &self.broker_addr {
            Some(addr) => {
                let addr = addr.trim().to_owned();
                let connection = ctx.admin.consumer_connection(&addr, group).await?;
                (addr, connection)
            }
            None => group_connection(ctx, group).await?,
        };
        for one in &connection.connection_set {
            if self
                .client_id
                .as_deref()
                .is_some_and(|id| id.trim() != one.client_id)
            {
                continue;
            }
            let id = &one.client_id;
            let info = ctx
                .admin
                .consumer_running_info(&addr, group, id, self.jstack)
                .await?;
            let text = fastjson::to_vec_pretty(&info)
                .map_err(|error| ClientError::Invalid(error.to_string()))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let queues: Vec<_> = info.mq_table.keys().collect();
            let value = json!({ "clientId": id, "queues": queues, "properties": info.properties });
            ctx.out.show(&value, || println!("#{id}\n{text}"));
        }
        Ok(())
    }
}
