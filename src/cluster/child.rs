//! One server as a child process.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
};

use super::{Member, tell};
use crate::program::PARENT_VARIABLE;

/// What a server prints when it answers requests.
const READY: &str = "boot success";

/// Lines that are kept of what a server wrote last.
const LAST_LINES: usize = 20;

/// Bytes of a line; a longer one comes in pieces.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// How long the end of a server's output is waited for after its end.
const OUTPUT_MAX: Duration = Duration::from_secs(2);

/// What a child does.
#[derive(Debug)]
pub(super) enum Event {
    /// The one with this number answers requests.
    Ready(usize),
    /// It has ended.
    Ended(usize, io::Result<ExitStatus>),
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

/// A running child. It is killed when this goes while it runs.
#[derive(Debug)]
pub(super) struct Running {
    signals: mpsc::UnboundedSender<Signal>,
    last_lines: LastLines,
}

impl Running {
    /// Starts a member in `data`; the program is beside this one, in `programs`. What it writes goes
    /// on with `label` in front.
    ///
    /// The thread that calls this has to live as long as the child is to: the kernel ends it then.
    pub(super) fn start(
        member: &Member,
        number: usize,
        programs: &Path,
        data: &Path,
        label: &str,
        events: mpsc::UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let mut command = Command::new(programs.join(member.role.program()));
        command.arg("-c").arg(&member.file);
        if let Some(addresses) = &member.namesrv_addr {
            command.arg("-n").arg(addresses);
        }
        command
            .current_dir(data)
            .env("HOME", &member.home)
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal comes to this process alone, which stops the others in order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let last_lines = LastLines::default();
        let mut outputs = Vec::new();
        let new_line = |to_stderr: bool, ready: Option<mpsc::UnboundedSender<Event>>| Lines {
            label: label.to_owned(),
            to_stderr,
            last_lines: Arc::clone(&last_lines),
            ready: ready.map(|events| (number, events)),
        };
        if let Some(stdout) = child.stdout.take() {
            let lines = new_line(false, Some(events.clone()));
            outputs.push(tokio::spawn(lines.pass_on(stdout)));
        }
        if let Some(stderr) = child.stderr.take() {
            outputs.push(tokio::spawn(new_line(true, None).pass_on(stderr)));
        }
        let (signals, to_send) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let status = watch(&mut child, to_send).await;
            // So that the reason of its end is there when the end is told.
            let _ = tokio::time::timeout(OUTPUT_MAX, join(outputs)).await;
            let _ = events.send(Event::Ended(number, status));
        });
        Ok(Self {
            signals,
            last_lines,
        })
    }

    /// Sends a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        // Whoever watches it has ended with it.
        let _ = self.signals.send(signal);
    }

    /// The last lines that it wrote.
    pub(super) fn last_lines(&self) -> String {
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let indented: Vec<_> = lines.iter().map(|line| format!("  {line}")).collect();
        indented.join("\n")
    }
}

async fn join(outputs: Vec<JoinHandle<()>>) {
    for output in outputs {
        let _ = output.await;
    }
}

/// Waits for the end and hands on signals. Only who waits for a process knows whether its number is
/// still its own.
async fn watch(
    child: &mut Child,
    mut to_send: mpsc::UnboundedReceiver<Signal>,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            Some(signal) = to_send.recv() => {
                let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
                if let Some(pid) = pid {
                    // An error means that it has just ended, which the wait tells.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// One output of a child.
struct Lines {
    label: String,
    to_stderr: bool,
    last_lines: LastLines,
    /// Whom to tell that the child is ready.
    ready: Option<(usize, mpsc::UnboundedSender<Event>)>,
}

impl Lines {
    /// Passes on line by line until the output ends.
    async fn pass_on(mut self, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut piece = (&mut output).take(LINE_LEN_MAX);
            match piece.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.line(String::from_utf8_lossy(&line).trim_end()),
            }
        }
    }

    fn line(&mut self, line: &str) {
        if self.to_stderr {
            use std::io::Write as _;
            let _ = writeln!(io::stderr(), "{}{line}", self.label);
        } else {
            tell(format_args!("{}{line}", self.label));
        }
        let mut last = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
        drop(last);
        if line.contains(READY)
            && let Some((number, events)) = self.ready.take()
        {
            // Nobody listens any more when all is being stopped.
            let _ = events.send(Event::Ready(number));
        }
    }
}
