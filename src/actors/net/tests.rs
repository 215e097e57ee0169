//! Real sockets against a small echo service.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::System;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::actors::kernel::{Page, lock};
use crate::protocol::{RequestCode, ResponseCode};

mod bench;

use bench::{BIG_LEN, Event, Server};

#[actix::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut server = Server::start(NetConfig::default());
    let mut client = server.connect().await;
    let frames: Vec<_> = (0..500)
        .map(|n| client.frame(RequestCode::HeartBeat, format!("{n}").as_bytes()))
        .collect();
    client.stream.write_all(&frames.concat()).await.unwrap();
    for n in 0..500 {
        let answer = client.receive().await.unwrap();
        assert_eq!(
            (answer.opaque, &answer.body[..]),
            (n + 1, n.to_string().as_bytes())
        );
    }
    let conn = server.opened().await;
    // The last bytes arrive before they are counted: a round trip of another connection ends the turn.
    server.connect().await.echo(b"after").await;
    assert_eq!((conn.in_flight(), conn.unsent_bytes()), (0, 0));
    assert_eq!(conn.received_frames(), 500);
    let Some(Event::Batch(first)) = server.events.recv().await else {
        panic!("no batch")
    };
    assert!(first > 1, "the frames of one read come in one call");
}

#[actix::test]
async fn frames_arrive_byte_by_byte_and_in_one_piece() {
    let server = Server::start(NetConfig::default());
    let mut client = server.connect().await;
    for byte in client.frame(RequestCode::HeartBeat, b"slow") {
        client.stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(&client.receive().await.unwrap().body[..], b"slow");
    client.echo(&vec![b'y'; 3 * 1024 * 1024]).await;
    client.echo(b"").await;
}

#[actix::test]
async fn malformed_and_oversized_frames_close_only_their_connection() {
    let server = Server::start(NetConfig {
        frame_len_max: 1000,
        ..NetConfig::default()
    });
    let mut good = server.connect().await;
    for bytes in [&[0, 0, 4, 0][..], &[0xff; 8], &[0, 0, 0, 4, 9, 0, 0, 0]] {
        let mut bad = server.connect().await;
        let mut whole = bad.frame(RequestCode::HeartBeat, b"first");
        whole.extend_from_slice(bytes);
        bad.stream.write_all(&whole).await.unwrap();
        // What came before the bad frame was served; whether its answer gets out is open.
        while bad.receive().await.is_some() {}
    }
    good.echo(b"fine").await;
    assert_eq!(server.net.counters().bad_frames.load(Relaxed), 3);
}

#[actix::test]
async fn slow_reader_is_not_read_and_costs_others_nothing() {
    let config = NetConfig {
        unsent_bytes_max: 4 * BIG_LEN,
        ..NetConfig::default()
    };
    let mut server = Server::start(config);
    let mut slow = server.connect().await;
    let conn = server.opened().await;
    const PULLS: usize = 600;
    for _ in 0..PULLS {
        slow.send(RequestCode::PullMessage, b"").await;
    }
    let mut other = server.connect().await;
    for _ in 0..20 {
        other.echo(b"quick").await;
    }
    // The bound is looked at between two calls of the service.
    let answers_max = 4 + 2 * super::config::FRAMES_PER_CALL_MAX;
    assert!(conn.unsent_bytes() <= (answers_max * (BIG_LEN + 200)) as u64);
    for _ in 0..PULLS {
        assert_eq!(slow.receive().await.unwrap().body.len(), 2 * BIG_LEN);
    }
    // As above: the turn ends.
    other.echo(b"after").await;
    assert_eq!((conn.unsent_bytes(), conn.in_flight()), (0, 0));
}

#[actix::test]
async fn requests_in_flight_are_bounded_and_resume() {
    let mut server = Server::start(NetConfig {
        in_flight_max: 4,
        ..NetConfig::default()
    });
    let mut client = server.connect().await;
    let mut held = Vec::new();
    // One frame per read, so that the bound is exact.
    for _ in 0..4 {
        client.send(RequestCode::SendMessage, b"m").await;
        held.push(server.held().await);
    }
    for _ in 0..4 {
        client.send(RequestCode::SendMessage, b"m").await;
    }
    // Another connection's round trip: the network thread had its turn and did not read more.
    server.connect().await.echo(b"x").await;
    assert!(
        held.iter()
            .all(|responder| responder.conn().in_flight() == 4)
    );
    held.pop().unwrap().park();
    held.push(server.held().await);
    drop(held);
    for _ in 0..8 {
        if let Ok(Event::Held(responder)) = server.events.try_recv() {
            responder.success();
        }
    }
    let mut answers = 0;
    while answers < 8 {
        tokio::select! {
            responder = server.held() => responder.success(),
            answer = client.receive() => { answer.unwrap(); answers += 1; }
        }
    }
}

#[actix::test]
async fn dropped_request_is_answered_outcome_unknown() {
    let server = Server::start(NetConfig::default());
    let mut client = server.connect().await;
    client.send(RequestCode::GetMinOffset, b"").await;
    let answer = client.receive().await.unwrap();
    assert_eq!(answer.response_code(), Some(ResponseCode::SystemError));
    assert_eq!(
        (answer.remark.as_deref(), answer.opaque),
        (Some("outcome unknown"), 1)
    );
}

#[actix::test]
async fn server_calls_client() {
    let mut server = Server::start(NetConfig::default());
    let mut client = server.connect().await;
    let conn = server.opened().await;
    let ask = RemotingCommand::request_without_header(RequestCode::GetConsumerRunningInfo);
    let first = conn.call(ask.clone(), Duration::from_secs(60));
    let second = conn.call(ask, Duration::from_secs(60));
    let requests = [
        client.receive().await.unwrap(),
        client.receive().await.unwrap(),
    ];
    assert_eq!((requests[0].opaque, requests[1].opaque), (0, 1));
    // Answered the other way round; own requests of the client go on with the same numbers.
    client.echo(b"own").await;
    for request in requests.iter().rev() {
        let mut bytes = BytesMut::new();
        let body = format!("{}", request.opaque);
        RemotingCommand::response(request, ResponseCode::Success)
            .with_body(body)
            .encode(&mut bytes);
        client.stream.write_all(&bytes).await.unwrap();
    }
    assert_eq!(&first.await.unwrap().body[..], b"0");
    assert_eq!(&second.await.unwrap().body[..], b"1");
}

#[actix::test]
async fn calls_end_with_time_and_with_the_connection() {
    let config = NetConfig {
        tick: Duration::from_millis(5),
        ..NetConfig::default()
    };
    let mut server = Server::start(config);
    let client = server.connect().await;
    let conn = server.opened().await;
    let ask = RemotingCommand::request_without_header(RequestCode::GetConsumerRunningInfo);
    let late = conn.call(ask.clone(), Duration::ZERO).await;
    assert_eq!(late.unwrap_err(), CallError::Timeout);
    let waiting = conn.call(ask.clone(), Duration::from_secs(600));
    drop(client);
    assert_eq!(waiting.await.unwrap_err(), CallError::Closed);
    let after = conn.call(ask, Duration::from_secs(600)).await;
    assert_eq!(after.unwrap_err(), CallError::Closed);
}

#[actix::test]
async fn panic_closes_its_own_socket_and_is_counted() {
    let mut server = Server::start(NetConfig::default());
    let mut neighbour = server.connect().await;
    neighbour.echo(b"before").await;
    let mut victim = server.connect().await;
    victim.send(RequestCode::SendMessage, b"held").await;
    let responder = server.held().await;
    let id = responder.conn().id;
    victim.send(RequestCode::GetMaxOffset, b"").await;
    assert!(victim.receive().await.is_none());
    assert_eq!(server.closed().await, id);
    assert!(responder.conn().is_closed());
    responder.success();
    neighbour.echo(b"after").await;
    assert_eq!(server.net.counters().crashed.load(Relaxed), 1);
    assert_eq!(server.net.connections().len(), 1);
    let view = server.tree.view("test/net", Page::default()).unwrap();
    assert_eq!(view.detail["crashed"], 1);
    // A drill on the neighbour, through the tree.
    let path = format!(
        "test/net/connection/{}",
        neighbour.stream.local_addr().unwrap()
    );
    assert!(server.tree.get(&path).unwrap().crash());
    assert!(neighbour.receive().await.is_none());
    server.closed().await;
    // The guard takes the cell out right after the service was told.
    while server.tree.contains("test/net/connection") {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn listener_survives_a_crash_with_its_socket() {
    let server = Server::start(NetConfig::default());
    server.connect().await.echo(b"before").await;
    let listener = format!("test/net/listener/{}", server.address.port());
    assert!(server.tree.get(&listener).unwrap().crash());
    server.connect().await.echo(b"after").await;
    assert!(server.tree.get("test/net").unwrap().crash());
    server.connect().await.echo(b"after").await;
    assert_eq!(server.tree.get(&listener).unwrap().restarts(), 1);
}

#[actix::test]
async fn idle_connections_and_unfinished_frames_are_closed() {
    let config = NetConfig {
        tick: Duration::from_millis(5),
        idle_timeout: Duration::from_millis(300),
        ..NetConfig::default()
    };
    let mut server = Server::start(config);
    let mut idle = server.connect().await;
    idle.echo(b"x").await;
    assert!(idle.receive().await.is_none());
    let mut server2 = Server::start(NetConfig {
        tick: Duration::from_millis(5),
        stall_timeout: Duration::from_millis(50),
        ..NetConfig::default()
    });
    let mut half = server2.connect().await;
    half.stream.write_all(&[0, 0, 1, 0, 0, 0]).await.unwrap();
    assert!(half.receive().await.is_none());
    server.closed().await;
    server2.closed().await;
    assert_eq!(server2.net.counters().timed_out.load(Relaxed), 1);
}

#[actix::test]
async fn answers_nobody_reads_close_the_connection() {
    let config = NetConfig {
        tick: Duration::from_millis(5),
        stall_timeout: Duration::from_millis(50),
        ..NetConfig::default()
    };
    let mut server = Server::start(config);
    let mut deaf = server.connect().await;
    for _ in 0..400 {
        let bytes = deaf.frame(RequestCode::PullMessage, b"");
        if deaf.stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    server.closed().await;
    assert_eq!(server.net.counters().timed_out.load(Relaxed), 1);
}

#[actix::test]
async fn too_many_connections_are_closed_at_once() {
    let mut server = Server::start(NetConfig {
        connections_max: 1,
        ..NetConfig::default()
    });
    let mut first = server.connect().await;
    first.echo(b"x").await;
    let mut second = server.connect().await;
    assert!(second.receive().await.is_none());
    drop(first);
    server.closed().await;
    server.connect().await.echo(b"y").await;
    assert_eq!(server.net.counters().refused.load(Relaxed), 1);
}

#[actix::test]
async fn arriving_frames_share_a_budget_and_all_get_through() {
    let len = 300 * 1024;
    let config = NetConfig {
        // One at a time, and each takes the whole budget.
        inbound_bytes_max: len - 10_000,
        tick: Duration::from_millis(5),
        ..NetConfig::default()
    };
    let server = Server::start(config);
    let body = vec![b'z'; len];
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = server.connect().await;
        let body = body.clone();
        clients.push(actix_rt::spawn(async move {
            for _ in 0..5 {
                client.echo(&body).await;
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
}

#[actix::test]
async fn stop_listening_then_close_all() {
    let mut server = Server::start(NetConfig::default());
    let mut client = server.connect().await;
    client.echo(b"x").await;
    server.net.stop_listening().await;
    // The port is free again.
    let again = super::listener::bind(server.address, &NetConfig::default());
    assert!(again.is_ok(), "{again:?}");
    client.echo(b"still open").await;
    server.net.close_all();
    assert!(client.receive().await.is_none());
    server.closed().await;
    server.arbiter.stop();
}

#[test]
fn a_stopping_arbiter_closes_its_connections() {
    System::new().block_on(async {
        let seen = Arc::new(Mutex::new(None));
        let mut server = Server::start(NetConfig::default());
        let mut client = server.connect().await;
        client.echo(b"x").await;
        *lock(&seen) = Some(server.opened().await);
        server.arbiter.stop();
        assert!(client.receive().await.is_none());
        assert!(lock(&seen).as_ref().is_some_and(|conn| conn.is_closed()));
        server.arbiter.join().unwrap();
    });
}
