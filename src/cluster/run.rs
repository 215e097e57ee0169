//! Starts the servers of a folder, watches them and stops them in order.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    ClusterError, Folder, Member, Role,
    child::{Event, Running},
    tell,
};
use crate::{config::Env, program::StopSignals};

/// What a stop may take beyond the time that a server gives its own actors.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// How long the kernel may take to end what is killed.
const KILL_MAX: Duration = Duration::from_secs(10);

/// The order in which the servers stop: slaves take the end of their master's log first.
const STOP_ORDER: [Role; 3] = [Role::Master, Role::Slave, Role::Namesrv];

/// Runs the servers of a folder of configuration files.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Folder with namesrv*.properties (or .conf) and broker*.properties (or .conf).
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Directory of everything that is stored, for relative paths of the files [default:
    /// ./callboard-data/cluster/ and the folder's name].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seconds that servers of a kind may take to be ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ready_within: u64,
    /// Stops all when a server ends by itself; otherwise the others go on.
    #[arg(long)]
    exit_when_one_ends: bool,
}

impl Run {
    /// Starts all, serves until SIGTERM or SIGINT, and stops all. On the main thread only, for the
    /// servers end with the thread that starts them.
    ///
    /// # Errors
    /// See [`ClusterError`]; whatever was started is stopped by then.
    pub async fn run(self) -> Result<ExitCode, ClusterError> {
        let folder = Folder::read(&self.dir, &self.data_dir()?, &Env::of_process())?;
        for warning in &folder.warnings {
            tell(format_args!("warning: {warning}"));
        }
        let mut cluster = Cluster::new(folder)?;
        let within = Duration::from_secs(self.ready_within);
        match cluster.start(within).await {
            Ok(true) => {}
            Ok(false) => return Ok(cluster.stop().await),
            Err(error) => {
                cluster.stop().await;
                return Err(error);
            }
        }
        cluster.show();
        tell("cluster ready");
        let served = cluster.serve(self.exit_when_one_ends).await;
        let stopped = cluster.stop().await;
        Ok(if served { stopped } else { ExitCode::FAILURE })
    }

    fn data_dir(&self) -> Result<PathBuf, ClusterError> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        // The name that `.` or `x/..` has, too.
        let dir = self.dir.canonicalize();
        let dir = dir.map_err(ClusterError::io("find the folder", &self.dir))?;
        let name = dir.file_name().unwrap_or("root".as_ref());
        Ok(Path::new("callboard-data/cluster").join(name))
    }
}

/// A server that was started and has not ended.
type Slot = Option<Running>;

struct Cluster {
    folder: Folder,
    programs: PathBuf,
    /// One for each member.
    running: Vec<Slot>,
    events: mpsc::UnboundedReceiver<Event>,
    send_events: mpsc::UnboundedSender<Event>,
    signals: StopSignals,
    name_len: usize,
}

/// What came next.
enum Next {
    Event(Event),
    Signal,
    TimeIsUp,
}

impl Cluster {
    fn new(folder: Folder) -> Result<Self, ClusterError> {
        let own = std::env::current_exe();
        let own = own.map_err(ClusterError::io("find this program", "callboard"))?;
        let signals = StopSignals::listen();
        let signals = signals.map_err(ClusterError::io("receive signals", &own))?;
        std::fs::create_dir_all(&folder.data)
            .map_err(ClusterError::io("make the folder", &folder.data))?;
        let (send_events, events) = mpsc::unbounded_channel();
        let lens = folder.members.iter().map(|member| member.name.len());
        Ok(Self {
            name_len: lens.max().unwrap_or(0),
            programs: own.parent().unwrap_or(Path::new("")).to_owned(),
            running: folder.members.iter().map(|_| None).collect(),
            folder,
            events,
            send_events,
            signals,
        })
    }

    fn of(&self, role: Role) -> Vec<usize> {
        let members = self.folder.members.iter().enumerate();
        let of_role = members.filter(|(_, member)| member.role == role);
        of_role.map(|(number, _)| number).collect()
    }

    async fn next(&mut self, deadline: Option<Instant>) -> Next {
        let (events, signals) = (&mut self.events, &mut self.signals);
        let next = async {
            tokio::select! {
                // The sender is in this struct: there is always a next one.
                Some(event) = events.recv() => Next::Event(event),
                () = signals.next() => Next::Signal,
            }
        };
        match deadline {
            Some(deadline) => timeout_at(deadline, next).await.unwrap_or(Next::TimeIsUp),
            None => next.await,
        }
    }

    /// Starts all, kind by kind. `false` when a signal came before they were ready.
    async fn start(&mut self, within: Duration) -> Result<bool, ClusterError> {
        for role in [Role::Namesrv, Role::Master, Role::Slave] {
            let mut waited_for = self.of(role);
            for &number in &waited_for {
                self.spawn(number)?;
            }
            let deadline = Instant::now() + within;
            while let Some(&first) = waited_for.first() {
                match self.next(Some(deadline)).await {
                    Next::Event(Event::Ready(number)) => waited_for.retain(|&one| one != number),
                    Next::Event(Event::Ended(number, status)) => {
                        let why = format!("ended with {}", outcome(&status));
                        let error = self.not_ready(number, why);
                        self.forget(number);
                        return Err(error);
                    }
                    Next::Signal => return Ok(false),
                    Next::TimeIsUp => {
                        let why = format!("was not ready within {} s", within.as_secs());
                        return Err(self.not_ready(first, why));
                    }
                }
            }
        }
        Ok(true)
    }

    fn spawn(&mut self, number: usize) -> Result<(), ClusterError> {
        let Some(member) = self.folder.members.get(number) else {
            return Ok(());
        };
        let label = format!("{:1$} | ", member.name, self.name_len);
        let (programs, data) = (&self.programs, &self.folder.data);
        let events = self.send_events.clone();
        let running = Running::start(member, number, programs, data, &label, events);
        let program = self.programs.join(member.role.program());
        let running = running.map_err(ClusterError::io("start", program))?;
        if let Some(slot) = self.running.get_mut(number) {
            *slot = Some(running);
        }
        Ok(())
    }

    fn not_ready(&self, number: usize, why: String) -> ClusterError {
        let running = self.running.get(number).and_then(Option::as_ref);
        let output = running.map(Running::last_lines).unwrap_or_default();
        match self.folder.members.get(number) {
            Some(member) => ClusterError::NotReady {
                name: member.name.clone(),
                program: member.role.program(),
                file: member.file.clone(),
                why,
                output,
            },
            None => ClusterError::Layout(why),
        }
    }

    /// One line for each server.
    fn show(&self) {
        for member in &self.folder.members {
            tell(line(member, self.name_len));
        }
    }

    /// Until a signal comes (`true`), or there is nothing left to serve with.
    async fn serve(&mut self, exit_when_one_ends: bool) -> bool {
        loop {
            match self.next(None).await {
                Next::Signal => return true,
                Next::Event(Event::Ended(number, status)) => {
                    self.forget(number);
                    let left = self.running.iter().flatten().count();
                    let what = match (exit_when_one_ends, left) {
                        (true, _) => "the others are stopped",
                        (false, 0) => "none is left",
                        (false, _) => "the others go on",
                    };
                    let name = self.name(number);
                    tell(format_args!(
                        "{name} ended by itself with {}; {what}",
                        outcome(&status)
                    ));
                    if exit_when_one_ends || left == 0 {
                        return false;
                    }
                }
                Next::Event(Event::Ready(_)) | Next::TimeIsUp => {}
            }
        }
    }

    /// Stops what runs, kind by kind; a second signal kills what is left. Success when each ended in
    /// order.
    async fn stop(&mut self) -> ExitCode {
        let mut clean = true;
        for role in STOP_ORDER {
            let members = self.of(role);
            let times = self.folder.members.iter().map(|member| member.shutdown);
            let patience = times.max().unwrap_or_default() + STOP_GRACE;
            clean &= self.end(&members, Signal::TERM, patience).await;
            if self.is_any_left(&members) {
                self.end(&members, Signal::KILL, KILL_MAX).await;
                clean = false;
            }
        }
        if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn is_any_left(&self, members: &[usize]) -> bool {
        let of = |number: &usize| self.running.get(*number).is_some_and(Option::is_some);
        members.iter().any(of)
    }

    /// Sends a signal and waits for the end of these members; `false` when one did not end as it
    /// should, or not in time, or when there was no time left.
    async fn end(&mut self, members: &[usize], signal: Signal, patience: Duration) -> bool {
        for number in members {
            if let Some(running) = self.running.get(*number).and_then(Option::as_ref) {
                running.signal(signal);
            }
        }
        let deadline = Instant::now() + patience;
        let mut clean = true;
        while self.is_any_left(members) {
            match self.next(Some(deadline)).await {
                Next::Event(Event::Ended(number, status)) => {
                    self.forget(number);
                    let name = self.name(number);
                    tell(format_args!("{name} stopped with {}", outcome(&status)));
                    clean &= matches!(&status, Ok(status) if status.success());
                }
                Next::Event(Event::Ready(_)) => {}
                Next::Signal => {
                    tell("a second signal: what is left is killed");
                    self.running
                        .iter()
                        .flatten()
                        .for_each(|running| running.signal(Signal::KILL));
                    clean = false;
                }
                Next::TimeIsUp => {
                    tell(format_args!("not stopped within {} s", patience.as_secs()));
                    return false;
                }
            }
        }
        clean
    }

    fn name(&self, number: usize) -> &str {
        let member = self.folder.members.get(number);
        member.map_or("", |member| &member.name)
    }

    fn forget(&mut self, number: usize) {
        if let Some(slot) = self.running.get_mut(number) {
            *slot = None;
        }
    }
}

fn outcome(status: &std::io::Result<std::process::ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// What there is to know of a server.
fn line(member: &Member, name_len: usize) -> String {
    let debug = match &member.debug {
        Some(address) if !address.is_empty() => format!("  debug http://{address}/"),
        _ => String::new(),
    };
    let identity = match member.identity.as_str() {
        "" => String::new(),
        identity => format!("  {identity}"),
    };
    format!(
        "{:10} {:name_len$}{identity}  {}  store {}{debug}",
        member.role.word(),
        member.name,
        member.address,
        member.store.display(),
    )
}
