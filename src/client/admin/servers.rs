//! Brokers and NameServers: configuration, numbers, permissions.

use std::collections::BTreeMap;

use super::AdminClient;
use crate::client::api::{number, request};
use crate::client::error::ClientError;
use crate::client::read_json;
use crate::protocol::FieldValue::Str as Text;
use crate::protocol::body::stats::{BrokerStatsData, KvTable};
use crate::protocol::{FieldValue, RequestCode, ResponseCode, fastjson};

impl AdminClient {
    /// Run-time numbers of a broker.
    pub async fn broker_runtime_info(&self, addr: &str) -> Result<KvTable, ClientError> {
        let answer = self
            .broker(addr, request(RequestCode::GetBrokerRuntimeInfo, &[]))
            .await?;
        read_json(addr, "runtime info", &answer.body)
    }

    /// A broker's configuration as properties.
    pub async fn broker_config(&self, addr: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self
            .broker(addr, request(RequestCode::GetBrokerConfig, &[]))
            .await?;
        read_properties(addr, &answer.body)
    }

    /// Changes one key of a broker's configuration.
    pub async fn update_broker_config(
        &self,
        addr: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let body = format!("{key}={value}\n").into_bytes();
        let request = request(RequestCode::UpdateBrokerConfig, &[]).with_body(body);
        self.broker(addr, request).await.map(|_| ())
    }

    /// One statistic of a broker; None when the broker counts no such thing.
    pub async fn broker_stats(
        &self,
        addr: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<BrokerStatsData>, ClientError> {
        let fields = [("statsName", Text(name)), ("statsKey", Text(key))];
        match self
            .broker(addr, request(RequestCode::ViewBrokerStatsData, &fields))
            .await
        {
            Ok(answer) => read_json(addr, "broker stats", &answer.body).map(Some),
            Err(error) if error.is(ResponseCode::SystemError) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request without header or body that is answered with success or not at all:
    /// cleaning and other orders.
    pub async fn order(&self, addr: &str, code: RequestCode) -> Result<(), ClientError> {
        self.broker(addr, request(code, &[])).await.map(|_| ())
    }

    /// Sends any request and reads its JSON body, for what has no function here.
    pub async fn ask_json<T: serde::de::DeserializeOwned>(
        &self,
        addr: &str,
        code: RequestCode,
        fields: &[(&'static str, FieldValue<'_>)],
    ) -> Result<T, ClientError> {
        let answer = self.broker(addr, request(code, fields)).await?;
        read_json(addr, code.name(), &answer.body)
    }

    /// Sends any request with a JSON body that is answered with success or not at all.
    pub async fn tell_json(
        &self,
        addr: &str,
        code: RequestCode,
        body: &impl serde::Serialize,
    ) -> Result<(), ClientError> {
        let body =
            fastjson::to_vec(body).map_err(|error| ClientError::Invalid(error.to_string()))?;
        let request = request(code, &[]).with_body(body);
        self.broker(addr, request).await.map(|_| ())
    }

    /// Sets a key at every NameServer.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), ClientError> {
        let fields = [
            ("namespace", Text(namespace)),
            ("key", Text(key)),
            ("value", Text(value)),
        ];
        self.all_namesrvs(&request(RequestCode::PutKvConfig, &fields))
            .await
            .map(|_| ())
    }

    /// The value of a key; None when there is none.
    pub async fn get_kv(&self, namespace: &str, key: &str) -> Result<Option<String>, ClientError> {
        let fields = [("namespace", Text(namespace)), ("key", Text(key))];
        match self
            .namesrv(request(RequestCode::GetKvConfig, &fields))
            .await
        {
            Ok(answer) => Ok(answer.ext_fields.get("value").map(str::to_owned)),
            Err(error) if error.is(ResponseCode::QueryNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a key at every NameServer.
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), ClientError> {
        let fields = [("namespace", Text(namespace)), ("key", Text(key))];
        self.all_namesrvs(&request(RequestCode::DeleteKvConfig, &fields))
            .await
            .map(|_| ())
    }

    /// Each NameServer's configuration.
    pub async fn namesrv_config(
        &self,
    ) -> Result<Vec<(String, BTreeMap<String, String>)>, ClientError> {
        let answers = self
            .all_namesrvs(&request(RequestCode::GetNamesrvConfig, &[]))
            .await?;
        answers
            .into_iter()
            .map(|(addr, answer)| Ok((addr.clone(), read_properties(&addr, &answer.body)?)))
            .collect()
    }

    /// Changes one key of every NameServer's configuration.
    pub async fn update_namesrv_config(&self, key: &str, value: &str) -> Result<(), ClientError> {
        let body = format!("{key}={value}\n").into_bytes();
        let request = request(RequestCode::UpdateNamesrvConfig, &[]).with_body(body);
        self.all_namesrvs(&request).await.map(|_| ())
    }

    /// Takes or gives back the write permission of a broker's topics, at every NameServer; tells
    /// for each how many topics changed, or why it failed.
    pub async fn write_permission(
        &self,
        broker: &str,
        give: bool,
    ) -> Vec<(String, Result<i64, ClientError>)> {
        let (code, field) = match give {
            true => (RequestCode::AddWritePermOfBroker, "addTopicCount"),
            false => (RequestCode::WipeWritePermOfBroker, "wipeTopicCount"),
        };
        let mut results = Vec::new();
        for addr in &self.inner().config.namesrv_addrs {
            let request = request(code, &[("brokerName", Text(broker))]);
            let answer = self.inner().api.ask(addr, request).await;
            let count = answer.and_then(|answer| number(addr, &answer.ext_fields, field));
            results.push((addr.clone(), count));
        }
        results
    }
}

fn read_properties(addr: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>, ClientError> {
    let table = java_properties::read(bytes).map_err(|error| ClientError::BadAnswer {
        what: "a configuration",
        addr: addr.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(table.into_iter().collect())
}
