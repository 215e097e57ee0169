//! Language and version of the program at the other end, as every frame states them.

/// The implementation language of a peer, by its number on the wire (`LanguageCode`).
///
/// Kept as a number because new languages appear and an unknown one must not end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LanguageCode(pub u8);

const NAMES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP",
    "OMS", "RUST", "NODE_JS",
];

#[allow(missing_docs, reason = "each constant is the language of that name")]
impl LanguageCode {
    pub const JAVA: Self = Self(0);
    pub const CPP: Self = Self(1);
    pub const DOTNET: Self = Self(2);
    pub const PYTHON: Self = Self(3);
    pub const DELPHI: Self = Self(4);
    pub const ERLANG: Self = Self(5);
    pub const RUBY: Self = Self(6);
    pub const OTHER: Self = Self(7);
    pub const HTTP: Self = Self(8);
    pub const GO: Self = Self(9);
    pub const PHP: Self = Self(10);
    pub const OMS: Self = Self(11);
    pub const RUST: Self = Self(12);
    pub const NODE_JS: Self = Self(13);
}

impl LanguageCode {
    /// The name in the JSON header; a number without a name reads `OTHER`.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// The language with this name; an unknown name is [`LanguageCode::OTHER`].
    pub fn from_name(name: &str) -> Self {
        let index = NAMES.iter().position(|known| *known == name);
        index
            .and_then(|i| u8::try_from(i).ok())
            .map_or(Self::OTHER, Self)
    }
}

impl Default for LanguageCode {
    fn default() -> Self {
        Self::JAVA
    }
}

impl std::fmt::Display for LanguageCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Version ordinals (`MQVersion`): what a peer of that release puts into `version`.
pub mod version {
    /// From here a broker registers with a `RegisterBrokerBody`.
    pub const V3_0_11: i32 = 37;
    /// From here the request's own limit of retries is honoured.
    pub const V3_4_9: i32 = 121;
    /// The first release under Apache; from here on the numbering is regular.
    pub const V4_0_0: i32 = 213;
    /// From here route data is answered in standard JSON.
    pub const V4_9_4: i32 = 401;
    /// From here the compressed register body has the static topics.
    pub const V5_0_0: i32 = 413;
    /// Newer clients than this understand `GO_AWAY`.
    pub const V5_3_1: i32 = 475;
    /// The release this program is compatible with.
    pub const V5_4_0: i32 = 493;
    /// What this program says about itself.
    pub const CURRENT: i32 = V5_4_0;
    /// Any larger ordinal means this.
    pub const HIGHER_VERSION: i32 = 612;

    /// The release name of an ordinal, as tools print it: `V5_4_0` or `V5_4_0_SNAPSHOT`.
    ///
    /// Ordinals before 4.0.0 are not regular and read `V3`.
    pub fn describe(ordinal: i32) -> String {
        if ordinal >= HIGHER_VERSION {
            return "HIGHER_VERSION".to_owned();
        }
        // Each release is preceded by its snapshot, so V4_0_0_SNAPSHOT is one less.
        if ordinal < V4_0_0 - 1 {
            return "V3".to_owned();
        }
        let snapshots = ordinal - (V4_0_0 - 1);
        let release = snapshots / 2;
        let (major, minor, patch) = (4 + release / 100, release / 10 % 10, release % 10);
        let suffix = if snapshots % 2 == 0 { "_SNAPSHOT" } else { "" };
        format!("V{major}_{minor}_{patch}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_is_other() {
        for code in 0..14 {
            assert_eq!(
                LanguageCode::from_name(LanguageCode(code).name()),
                LanguageCode(code)
            );
        }
        assert_eq!(LanguageCode::from_name("COBOL"), LanguageCode::OTHER);
        assert_eq!(LanguageCode(200).name(), "OTHER");
    }

    #[test]
    fn ordinals_have_release_names() {
        for (ordinal, name) in [
            (213, "V4_0_0"),
            (317, "V4_5_2"),
            (409, "V4_9_8"),
            (413, "V5_0_0"),
            (479, "V5_3_3"),
            (492, "V5_4_0_SNAPSHOT"),
            (493, "V5_4_0"),
            (612, "HIGHER_VERSION"),
            (0, "V3"),
        ] {
            assert_eq!(version::describe(ordinal), name);
        }
    }
}
