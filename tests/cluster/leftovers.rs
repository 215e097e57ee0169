//! What tests that were killed left behind. Everything is named after the process that made it.

use crate::hosts::{PREFIX, ip, remove_link, remove_network, unmount};
use std::path::Path;

/// Whether something is named after a test process that is gone.
fn is_left_over(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    if digits.is_empty() || !rest[digits.len()..].starts_with('-') {
        return false;
    }
    // The id may be another program's by now; this one is called after its test target. One that
    // ended and was not waited for has no program any more.
    let program = std::fs::read_link(format!("/proc/{digits}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default();
    !name.to_string_lossy().starts_with("cluster")
}

/// Removes what tests that were killed left behind: servers, namespaces, links, disks.
pub fn sweep() {
    let spaces = ip("netns list").unwrap_or_default();
    for name in spaces.lines().filter_map(|l| l.split_whitespace().next()) {
        if is_left_over(name) {
            println!("removing {name} of a test that is gone");
            let servers = ip(&format!("netns pids {name}")).unwrap_or_default();
            for pid in servers.lines().filter_map(|line| line.parse().ok()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // It may have ended by itself just now.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            remove_link(name);
        }
    }
    let links = ip("-o link show type bridge").unwrap_or_default();
    for name in links.lines().filter_map(|l| l.split(": ").nth(1)) {
        if is_left_over(name) {
            remove_network(name);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        if let (Some(source), Some(at)) = (words.next(), words.next())
            && is_left_over(source)
        {
            unmount(at);
            // The disk lay in the test's temporary folder.
            let of_test = |dir: &&Path| {
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("callboard-test-")
            };
            if let Some(dir) = Path::new(at).ancestors().find(of_test) {
                let _ = std::fs::remove_dir_all(dir);
            }
        }
    }
}

#[test]
fn only_what_the_dead_left_is_swept() {
    let own = std::process::id();
    assert!(!is_left_over(&format!("cb{own}-0")), "it lives");
    assert!(!is_left_over(&format!("cb{own}-0h3")), "it lives");
    // No process has a number this high (`PID_MAX_LIMIT`).
    assert!(is_left_over("cb4999999-0h3"));
    for foreign in ["cb", "cb1", "cbr0", "eth0", "cb-1", "docker0"] {
        assert!(!is_left_over(foreign), "{foreign} is not ours");
    }
}
