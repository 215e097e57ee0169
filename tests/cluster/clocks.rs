//! A host's wall clock, set by [libfaketime](https://github.com/wolfcw/libfaketime) where it is
//! installed; `LIBFAKETIME` names it in another place. The monotonic clock stays true: no clock of
//! a real machine that is set goes otherwise.

use std::path::{Path, PathBuf};

/// Where distributions put the library, below one of these folders or of their children.
const PLACES: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// A clock that can be set.
pub struct FakeClock {
    library: PathBuf,
    /// Holds what is added to the true time; read at each look at the clock.
    offset: PathBuf,
}

impl FakeClock {
    /// A clock that goes right so far; none without the library.
    pub fn new(offset: PathBuf) -> Option<FakeClock> {
        let clock = FakeClock {
            library: library()?,
            offset,
        };
        clock.set(0);
        Some(clock)
    }

    /// Sets the clock to the true time and so many seconds.
    pub fn set(&self, offset_seconds: i64) {
        // In one step: a server that finds half a file has no time at all.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{offset_seconds:+}\n")).expect("a clock's file");
        std::fs::rename(&new, &self.offset).expect("a clock's file");
    }

    /// What is put before a command so that it has this clock.
    pub fn enter(&self) -> Vec<String> {
        let of = |path: &Path| path.display().to_string();
        vec![
            "env".into(),
            format!("LD_PRELOAD={}", of(&self.library)),
            format!("FAKETIME_TIMESTAMP_FILE={}", of(&self.offset)),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "NO_FAKE_STAT=1".into(),
            "FAKETIME_DONT_FAKE_UTIME=1".into(),
        ]
    }
}

fn library() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LIBFAKETIME") {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "LIBFAKETIME: no file {}", named.display());
        return Some(named);
    }
    let below = |place: &str| {
        let children = std::fs::read_dir(place).into_iter().flatten().flatten();
        let children = children.map(|child| child.path());
        std::iter::once(PathBuf::from(place))
            .chain(children)
            .map(|folder| folder.join(LIBRARY))
            .find(|library| library.is_file())
    };
    PLACES.into_iter().find_map(below)
}
