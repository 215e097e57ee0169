//! docs/compatibility.md says for every request code who answers it: this asks both servers for each.

mod common;

use common::PATIENCE;
use common::remoting::Client;
use common::server::Cluster;
use std::collections::BTreeMap;

/// The rows of the table: code, and what answers it.
fn documented() -> BTreeMap<i32, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let text = std::fs::read_to_string(path).expect("docs/compatibility.md");
    let table = text.split("## Request codes").nth(1).expect("the table");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        Some((cells.get(1)?.parse().ok()?, (*cells.get(3)?).to_owned()))
    });
    rows.collect()
}

#[test]
fn the_table_of_request_codes_is_true() {
    let table = documented();
    let cluster = Cluster::start(&[]);
    let broker = Client::connect(cluster.broker.address()).expect("connect");
    let namesrv = Client::connect(cluster.namesrv.address()).expect("connect");
    let mut wrong = Vec::new();
    for code in callboard::protocol::RequestCode::ALL {
        let (name, code) = (code.name(), code.code());
        let answers = |client: &Client| {
            let answer = client.call(code, &[], b"", PATIENCE);
            answer
                .unwrap_or_else(|error| panic!("{name}: {error:?}"))
                .code
                != 3
        };
        let found = match (answers(&broker), answers(&namesrv)) {
            (true, true) => "broker, NameServer",
            (true, false) => "broker",
            (false, true) => "NameServer",
            (false, false) => "–",
        };
        let said = table.get(&code).map(String::as_str).unwrap_or("nothing");
        if said.split(';').next() != Some(found) {
            wrong.push(format!(
                "{code} {name}: documented as {said}, in truth {found}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        table.len() == callboard::protocol::RequestCode::ALL.len(),
        "rows of no request code"
    );
}
