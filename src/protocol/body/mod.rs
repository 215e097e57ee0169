//! The JSON bodies of requests and responses, one file for each family.
//!
//! The fields stand in the alphabetic order of their names in JSON, because that is the order
//! fastjson writes. A missing field takes its default; a field that is an `Option` is left out
//! when it is none. All are read with [`from_slice`](super::fastjson::from_slice) and written
//! with [`to_vec`](super::fastjson::to_vec).

/// Declares a body: a struct with public fields, each with an optional default, and its JSON.
macro_rules! body {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $( $(#[$field_doc:meta])* $field:ident: $type:ty $(= $default:expr)?, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: body!(@default $($default)?), )* }
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

/// Declares an enum that is a name in JSON; an unknown name is the default, as Java reads null.
macro_rules! text_enum {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $( $(#[$variant_doc:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$variant_doc])* $variant, )+
        }

        impl $name {
            /// The name in JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }

            /// The value of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $( $text => Some(Self::$variant), )+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(from)?;
                Ok(Self::from_name(&name).unwrap_or_default())
            }
        }
    };
}

pub mod assignment;
pub mod auth;
pub mod connection;
pub mod data_version;
pub mod files;
pub mod ha;
pub mod heartbeat;
pub mod list;
pub mod lock;
pub mod message_queue;
pub mod mirror;
pub mod offset;
pub mod pop;
pub mod query;
pub mod register_broker;
pub mod route;
pub mod running_info;
pub mod stats;
pub mod subscription_group;
pub mod topic_config;
pub mod topic_queue_mapping;
pub mod topic_remapping;

pub use data_version::DataVersion;
pub use message_queue::MessageQueue;
