//! The hosts' faults themselves, without a cluster.

use crate::common::eventually;
use crate::common::server::{Folder, Namesrv};
use crate::faults::CLOCK_OFF;
use crate::hosts::{Direction, Host, Network};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// A fault that does nothing would make every test of faults pass.
#[test]
fn faults_do_harm_and_are_healed() {
    let dir = Folder::new();
    let network = Network::new();
    let at = dir.0.join("disk");
    let (one, other) = (network.host(Some(&at)), network.host(None));
    if one.has_disk() {
        one.fill_disk();
        let full = std::fs::write(at.join("file"), [1; 10_000]);
        assert!(full.is_err(), "room on a full disk");
        one.free_disk();
        std::fs::write(at.join("file"), [1; 10_000]).expect("room again");
    }
    if one.has_clock() {
        let shows = || {
            let (first, rest) = one.place.enter.split_first().expect("a command");
            let mut date = Command::new(first);
            let said = date
                .args(rest)
                .args(["date", "+%s"])
                .output()
                .expect("date");
            let text = String::from_utf8(said.stdout).expect("text");
            text.trim().parse::<i64>().expect("seconds")
        };
        let is_off_by = |seconds: i64| {
            let now = std::time::UNIX_EPOCH.elapsed().expect("a time").as_secs() as i64;
            (shows() - now - seconds).abs() < 100
        };
        for off in [0, CLOCK_OFF, -CLOCK_OFF, 0] {
            one.set_clock(off);
            assert!(is_off_by(off), "a clock that was set by {off} s");
        }
    }
    if !network.has_links() {
        return;
    }
    let server = Namesrv::start_at(one.place.clone(), &dir.0.join("namesrv"));
    let address = server.address();
    let is_reached = || TcpStream::connect_timeout(&address, Duration::from_millis(400)).is_ok();
    let must_be_reached = || eventually("reached", || is_reached().then_some(()));
    let cuts: [&dyn Fn(); 3] = [&|| one.cut(), &|| one.cut_one_way(Direction::In), &|| {
        one.cut_one_way(Direction::Out)
    }];
    for cut in cuts {
        must_be_reached();
        cut();
        assert!(!is_reached(), "reached over a link that is cut");
        one.heal();
    }
    must_be_reached();
    for impair in [Host::slow, Host::lose_packets] {
        impair(&one);
        must_be_reached();
        one.heal();
    }
    let from_other = || {
        let open = format!("exec 3<>/dev/tcp/{}/{}", one.place.ip, address.port());
        other.runs(&["timeout", "1", "bash", "-c", &open])
    };
    let must_be_reached_from_other = || eventually("seen", || from_other().then_some(()));
    must_be_reached_from_other();
    for (from, to) in [(&one, &other), (&other, &one)] {
        from.lose_sight_of(to);
        assert!(!from_other(), "hosts that are parted");
        // Only the other one is out of sight.
        must_be_reached();
        from.find_again(to);
        must_be_reached_from_other();
    }
}
