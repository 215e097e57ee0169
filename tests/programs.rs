//! The programs as a shell sees them.

use std::process::{Command, Stdio};

/// Exit code and standard error of a program whose output nobody reads.
fn unread(mut program: Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = program.stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.expect("started").wait_with_output().expect("ended");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

#[test]
fn tools_end_quietly_when_nobody_reads_on() {
    let ended_by_pipe = (Some(141), String::new());
    let mut broker = Command::new(env!("CARGO_BIN_EXE_broker"));
    broker.arg("-p");
    assert_eq!(unread(broker), ended_by_pipe);
    let mut namesrv = Command::new(env!("CARGO_BIN_EXE_namesrv"));
    namesrv.arg("-p");
    assert_eq!(unread(namesrv), ended_by_pipe);
    let folder = tempfile::tempdir().expect("a folder");
    let mut generator = Command::new(env!("CARGO_BIN_EXE_callboard"));
    generator
        .arg("cluster-config")
        .arg(folder.path().join("new"));
    assert_eq!(unread(generator), ended_by_pipe);
}
