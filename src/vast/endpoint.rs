//! What is called, with which method, and how much time the provider wants between two such calls.

use std::time::Duration;

use reqwest::Method;

/// One endpoint and method; the unit in which the provider limits calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    List,
    Search,
    Create,
    Destroy,
    Reboot,
    Change,
    ChangeBid,
    AttachKey,
    Account,
    Charges,
}

impl Endpoint {
    /// All of them, in the order of [`Endpoint::index`].
    pub(super) const ALL: [Self; 10] = [
        Self::List,
        Self::Search,
        Self::Create,
        Self::Destroy,
        Self::Reboot,
        Self::Change,
        Self::ChangeBid,
        Self::AttachKey,
        Self::Account,
        Self::Charges,
    ];

    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::List | Self::Account | Self::Charges => Method::GET,
            Self::Search | Self::AttachKey => Method::POST,
            Self::Create | Self::Reboot | Self::Change | Self::ChangeBid => Method::PUT,
            Self::Destroy => Method::DELETE,
        }
    }

    /// Its name among the crash points.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Search => "search",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Reboot => "reboot",
            Self::Change => "change",
            Self::ChangeBid => "change-bid",
            Self::AttachKey => "attach-key",
            Self::Account => "account",
            Self::Charges => "charges",
        }
    }

    /// What it does, for messages.
    pub(super) fn act(self) -> &'static str {
        match self {
            Self::List => "list instances",
            Self::Search => "search offers",
            Self::Create => "rent an offer",
            Self::Destroy => "destroy an instance",
            Self::Reboot => "reboot an instance",
            Self::Change => "change an instance",
            Self::ChangeBid => "change a bid",
            Self::AttachKey => "attach a key",
            Self::Account => "read the account",
            Self::Charges => "read the charges",
        }
    }

    /// Time between two calls, by the thresholds in the provider's OpenAPI files: seconds between calls for all but the
    /// search, which allows ten a minute. Account and charges have no published figure; 1 s is the commonest of the others.
    pub(super) fn spacing(self) -> Duration {
        Duration::from_millis(match self {
            Self::Create => 4500,
            Self::Destroy => 3000,
            Self::ChangeBid => 5500,
            Self::Search => 6000,
            Self::List | Self::Reboot | Self::Change | Self::AttachKey | Self::Account | Self::Charges => {
                1000
            }
        })
    }

    /// Most bytes of an answer that are read. Lists and searches carry tens of rows of some kilobytes each; everything
    /// else is one small object.
    pub(super) fn answer_limit(self) -> usize {
        match self {
            Self::List | Self::Search | Self::Charges => 8 << 20,
            Self::Create
            | Self::Destroy
            | Self::Reboot
            | Self::Change
            | Self::ChangeBid
            | Self::AttachKey
            | Self::Account => 64 << 10,
        }
    }
}
