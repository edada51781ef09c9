//! Names and ids: who a thing is, parsed once and then impossible to get wrong.
//!
//! The label is the only mark that Vast.ai keeps for us on a rental (there are no tags and no idempotency key), so
//! ownership and the answer to "did that create happen?" both hang on [`Label`].

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest fleet name; with [`NODE_NAME_MAX`] and an op id a label stays within 60 characters, a length that other
/// Vast.ai clients are known to use without trouble.
pub const FLEET_NAME_MAX: usize = 16;
/// Longest node name, see [`FLEET_NAME_MAX`].
pub const NODE_NAME_MAX: usize = 28;
/// Length of an op id in characters: 11 base-32 digits are 55 bits, so two ops of one fleet never meet.
pub const OP_ID_LEN: usize = 11;
/// What every label of this program starts with.
pub const LABEL_PREFIX: &str = "vk";

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than the limit.
    #[error("{what} `{text}` must have 1 to {max} characters")]
    Length {
        /// Which kind of name.
        what: &'static str,
        /// The text, cut to a printable length.
        text: String,
        /// The limit.
        max: usize,
    },
    /// A character outside `a-z`, `0-9` and inner `-`.
    #[error("{what} `{text}` may hold only a-z, 0-9 and inner dashes")]
    Character {
        /// Which kind of name.
        what: &'static str,
        /// The text, cut to a printable length.
        text: String,
    },
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let shown = || text.chars().take(64).collect::<String>();
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { what, text: shown(), max });
    }
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(())
    } else {
        Err(NameError::Character { what, text: shown() })
    }
}

/// Names are held in words of this many bytes, which compare at once.
const WORD: usize = 8;
type Word = [u8; WORD];

macro_rules! text_name {
    ($(#[$meta:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$meta])*
        ///
        /// Held in place, padded with zeros: names are compared far more often than anything else is done with them.
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name([Word; usize::div_ceil($max, WORD)]);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                let padded = self.0.as_flattened();
                let length = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
                padded.get(..length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
            }

            /// A text that was checked.
            fn held(text: &str) -> Self {
                let mut padded = [Word::default(); usize::div_ceil($max, WORD)];
                padded.as_flattened_mut().iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
                Self(padded)
            }
        }

        impl Ord for $name {
            /// As their texts: a padded text that ends earlier is less.
            fn cmp(&self, other: &Self) -> Ordering {
                let mut pairs = self.0.iter().zip(&other.0);
                let order = |(one, other): (&Word, &Word)| u64::from_be_bytes(*one).cmp(&u64::from_be_bytes(*other));
                pairs.find_map(|pair| Some(order(pair)).filter(|order| order.is_ne())).unwrap_or(Ordering::Equal)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text, $max)?;
                Ok(Self::held(text))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().into()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a {}", $what)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_name!(
    /// The fleet: all nodes one keeper looks after, one label prefix in the provider account.
    FleetName, "fleet name", FLEET_NAME_MAX
);
text_name!(
    /// A named place in the fleet, such as `duel-0`.
    NodeName, "node name", NODE_NAME_MAX
);
text_name!(
    /// One attempt to rent. It is journaled before the create, travels in the label and in the box's environment,
    /// and is echoed by `/health`.
    OpId, "op id", OP_ID_LEN
);

impl OpId {
    /// An op id from random bits; only the low 55 bits count.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let digits = (0..OP_ID_LEN).filter_map(|place| DIGITS.get(((bits >> (5 * place)) & 31) as usize));
        let text: String = digits.map(|digit| char::from(*digit)).collect();
        Self::held(&text)
    }
}

macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A rented Vast.ai contract (`new_contract`, `id` of the instance list).
    InstanceId
);
number_id!(
    /// An ask that can be rented (`id` of a search result).
    OfferId
);
number_id!(
    /// A physical machine of the provider (`machine_id`); the unit of exclusion.
    MachineId
);
number_id!(
    /// The owner of machines (`host_id`).
    HostId
);
number_id!(
    /// An incident of this fleet, counted from 1.
    IncidentId
);

/// What a label says of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Ours: this fleet's prefix and a node and an op that parse.
    Ours(NodeName, OpId),
    /// This fleet's prefix, but the rest does not parse: told to a human, never touched.
    Malformed,
    /// Anything else, also no label at all: never touched.
    Foreign,
}

/// The label of a rental: `vk:<fleet>:<node>:<op>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The fleet.
    pub fleet: FleetName,
    /// The node the rental fills.
    pub node: NodeName,
    /// The attempt that rented it.
    pub op: OpId,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LABEL_PREFIX}:{}:{}:{}", self.fleet, self.node, self.op)
    }
}

/// Whose rental a label marks, seen from `fleet`.
#[must_use]
pub fn ownership(label: Option<&str>, fleet: &FleetName) -> Ownership {
    let mut parts = label.unwrap_or_default().split(':');
    if parts.next() != Some(LABEL_PREFIX) || parts.next() != Some(fleet.as_str()) {
        return Ownership::Foreign;
    }
    match (parts.next().map(str::parse), parts.next().map(str::parse), parts.next()) {
        (Some(Ok(node)), Some(Ok(op)), None) => Ownership::Ours(node, op),
        _ => Ownership::Malformed,
    }
}

#[cfg(test)]
mod tests;
