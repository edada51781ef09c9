//! Everything that can go wrong in the simulated world, one row each: how often, for how long, to whom.
//!
//! A *spell* begins, lasts, and ends: while it does, what it touches is hit every other time. A *stroke* happens once.
//! Rates are per day, of the whole fleet or of each node. The three menus are columns of one table: `calm` is a good
//! marketplace, `typical` an ordinary month, and `storm` a world in which a keeper's week is worth ten years.

use serde::{Deserialize, Serialize};

/// Who suffers: the unit that a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole fleet.
    Fleet,
    /// Each node.
    Node,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which fault.
    pub fault: Fault,
    /// Its name in menus and reports.
    pub name: &'static str,
    /// What its rates count.
    pub scope: Scope,
    /// Shortest and longest spell in seconds; both zero for a stroke.
    pub lasts: (u64, u64),
    /// Times a day in each menu: calm, typical, storm.
    pub rates: [f64; 3],
}

macro_rules! faults {
    ($( $(#[$doc:meta])* $fault:ident $name:literal $scope:ident $from:literal..$to:literal [$calm:literal $typical:literal $storm:literal] ;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Fault { $( $(#[$doc])* $fault, )* }

        /// Every fault, in the order of the enum.
        pub const TABLE: &[Row] = &[ $( Row {
            fault: Fault::$fault, name: $name, scope: Scope::$scope, lasts: ($from, $to),
            rates: [$calm, $typical, $storm],
        }, )* ];
    };
}

faults! {
    // The keeper itself.
    /// Killed at a drawn point of its work, back within seconds.
    KeeperCrash "keeper-crash" Node 0..0 [0.01 0.05 16.0];
    /// Killed again and again, each time soon after its start.
    CrashStorm "crash-storm" Fleet 0..0 [0.0 0.02 1.0];
    /// Its process stands still for seconds or minutes.
    KeeperPause "keeper-pause" Fleet 0..0 [0.05 0.5 24.0];
    /// It stands still between the check of a command's expiry and the send, which nothing can fence.
    PauseBeforeSend "pause-before-send" Fleet 0..0 [0.0 0.05 6.0];
    /// Its machine sleeps, up to eight hours.
    Suspend "suspend" Fleet 0..0 [0.0 0.02 0.15];
    /// The wall clock is set by up to an hour either way; felt at the next start.
    WallJump "wall-clock-jump" Fleet 0..0 [0.0 0.02 0.5];
    /// A commit fails: stored or not, nobody knows until the journal is read back.
    CommitFails "commit-fails" Fleet 0..0 [0.0 0.05 6.0];
    /// The journal is lost with the keeper's machine: another one starts with nothing on record.
    StateLost "state-lost" Fleet 0..0 [0.0 0.0005 0.1];
    /// The journal is lost, and a copy of hours ago takes its place.
    StateRestored "state-restored" Fleet 0..0 [0.0 0.0005 0.3];
    /// The configuration is read anew.
    Reload "reload" Fleet 0..0 [0.1 0.5 12.0];
    /// A person pauses, resumes, reprovisions, redeploys or destroys.
    Wish "wish" Fleet 0..0 [0.0 0.2 6.0];

    // The network of the keeper.
    /// Nothing is reachable.
    KeeperOffline "keeper-offline" Fleet 60..1200 [0.05 0.5 6.0];
    /// Probes and SSH go nowhere while the provider's API answers: the most dangerous one.
    EgressBlocked "egress-blocked" Fleet 60..2400 [0.02 0.2 6.0];
    /// Part of the boxes cannot be reached from here, though they serve the world.
    SubsetCut "subset-cut" Fleet 60..1200 [0.01 0.1 3.0];
    /// Answers come just before or after the timeout.
    Slow "slow" Fleet 60..1200 [0.02 0.3 6.0];
    /// Some probes get lost.
    ProbeLoss "probe-loss" Fleet 60..3600 [0.1 1.0 12.0];

    // The provider's answers.
    /// Every call fails or times out; changes may have an effect.
    ApiDown "api-down" Fleet 60..1200 [0.05 0.3 6.0];
    /// Creates are lost on their way there.
    CreateLost "create-lost" Fleet 60..1800 [0.02 0.3 12.0];
    /// Creates are executed, their answers are lost.
    CreateAnswerLost "create-answer-lost" Fleet 60..1800 [0.02 0.3 12.0];
    /// Creates are answered by an error of the server and executed up to 110 s later.
    CreateLate "create-late" Fleet 60..1800 [0.01 0.1 12.0];
    /// Creates are executed twice.
    CreateTwice "create-twice" Fleet 60..1800 [0.01 0.1 9.0];
    /// Creates report an error and name what they rented.
    CreateBroken "create-broken" Fleet 60..1800 [0.01 0.2 9.0];
    /// Too many calls.
    Throttled "throttled" Fleet 30..900 [0.1 1.0 12.0];
    /// The key is refused for a while.
    KeyRefused "key-refused" Fleet 60..1200 [0.01 0.1 3.0];
    /// The create is refused as wrong.
    CreateRefused "create-refused" Fleet 60..600 [0.0 0.02 1.0];
    /// A list without a row, counted consistently.
    ListEmpty "list-empty" Fleet 30..600 [0.0 0.05 3.0];
    /// Lists are up to 90 s old.
    ListStale "list-stale" Fleet 60..1800 [0.1 0.5 9.0];
    /// Some rows are missing, counted consistently.
    ListLacksRows "list-lacks-rows" Fleet 30..600 [0.0 0.05 4.0];
    /// A page fails, so that the list is incomplete and is known to be.
    PageFails "page-fails" Fleet 60..1800 [0.1 0.5 9.0];
    /// The list is another account's.
    WrongAccount "wrong-account" Fleet 30..300 [0.0 0.01 1.0];
    /// Boxes are listed with a status nobody knows.
    UnknownStatus "unknown-status" Fleet 60..1800 [0.05 0.3 6.0];
    /// A box loses its label.
    LabelDropped "label-dropped" Fleet 0..0 [0.0 0.01 0.5];
    /// Destroys are acknowledged without effect.
    DestroyWithoutEffect "destroy-without-effect" Fleet 60..900 [0.01 0.1 6.0];
    /// Destroys are lost, before or after they are executed.
    DestroyLost "destroy-lost" Fleet 60..1800 [0.02 0.3 9.0];
    /// Nothing is on offer.
    NoOffers "no-offers" Fleet 120..3600 [0.05 0.3 4.0];
    /// Offers are gone when tried.
    OfferTaken "offer-taken" Fleet 60..3600 [0.5 2.0 12.0];
    /// The account runs dry: nothing can be rented, everything is stopped.
    CreditOut "credit-out" Fleet 600..3600 [0.0 0.003 0.1];

    // The hosts.
    /// The container ends; the provider says so.
    BoxExit "box-exit" Node 0..0 [0.01 0.05 20.0];
    /// The machine is disconnected; the provider says so.
    BoxOffline "box-offline" Node 0..0 [0.01 0.05 14.0];
    /// The box is gone, from the list as well.
    BoxVanish "box-vanish" Node 0..0 [0.002 0.01 9.0];
    /// The server accepts and never answers; it may come back by itself.
    ServerHang "server-hang" Node 0..0 [0.01 0.05 20.0];
    /// The server answers 500; it may come back by itself.
    ServerError "server-error" Node 0..0 [0.01 0.05 14.0];
    /// A few probes fail, then all is well: below the threshold or just above.
    Flap "flap" Node 0..0 [0.2 1.0 9.0];
    /// The server says it is in maintenance for a while.
    Maintenance "maintenance" Node 0..0 [0.1 0.2 2.0];
    /// The box has no network for a while, for anybody.
    BoxCut "box-cut" Node 0..0 [0.01 0.1 4.0];
    /// The box is published at another address.
    AddressMoves "address-moves" Node 0..0 [0.005 0.02 1.0];
    /// New boxes never come up.
    StuckBoot "stuck-boot" Fleet 300..7200 [0.5 2.0 9.0];
    /// New boxes come up and never become healthy.
    NeverHealthy "never-healthy" Fleet 300..7200 [0.1 0.5 6.0];
    /// Six of ten servers hang at once.
    MassHang "mass-hang" Fleet 0..0 [0.0 0.005 0.3];
    /// Four of ten boxes die at once.
    MassDeath "mass-death" Fleet 0..0 [0.0 0.005 0.3];
    /// Every box dies at once.
    TotalDeath "total-death" Fleet 0..0 [0.0 0.001 0.05];

    // SSH and deploys.
    /// Deploys fail on the box.
    DeployFails "deploy-fails" Fleet 60..3600 [0.1 0.5 6.0];
    /// The way to a box breaks in the middle of a deploy, or its last answer is lost.
    DeployUnknown "deploy-unknown" Fleet 60..3600 [0.1 0.5 9.0];
    /// The release itself is bad: it fails on every box.
    ReleaseBad "release-bad" Fleet 300..3600 [0.0 0.01 0.2];
    /// The host key of a box changes.
    HostKeyChanges "host-key-changes" Fleet 60..900 [0.0 0.005 0.2];
    /// Boxes do not answer as witnesses.
    WitnessSilent "witness-silent" Fleet 60..3600 [0.05 0.3 9.0];

    // The market.
    /// The provider stops a box for no reason that it names; a start may bring it back, or wait for its GPU.
    BoxStopped "box-stopped" Node 0..0 [0.002 0.02 6.0];
    /// Somebody bids more for an interruptible box, within what we may bid or beyond; others leave again or not.
    BoxOutbid "box-outbid" Node 0..0 [0.05 0.3 6.0];
    /// A host spoils every box from now on, and is cheaper than all others.
    BadHost "bad-host" Fleet 0..0 [0.01 0.05 1.0];
    /// There is a new release; every third one is bad, until the next.
    NewRelease "new-release" Fleet 0..0 [0.03 0.1 2.0];
    /// Machines are on offer for hours only: their boxes end with their contracts.
    ShortContracts "short-contracts" Fleet 600..7200 [0.02 0.1 4.0];
}

impl Fault {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // The table is written in the order of the enum by the same macro.
        TABLE.get(self as usize).unwrap_or(&TABLE[0])
    }

    /// Its name in menus and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.name().into()
    }
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let found = TABLE.iter().find(|row| row.name == name);
        found.map(|row| row.fault).ok_or_else(|| format!("there is no fault `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_in_order_and_each_name_is_one_of_a_kind() {
        let mut names = BTreeSet::new();
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.fault as usize, place, "{}", row.name);
            assert!(names.insert(row.name), "{} twice", row.name);
            assert_eq!(Fault::try_from(row.name.to_owned()), Ok(row.fault));
            assert!(row.lasts.0 <= row.lasts.1, "{}", row.name);
            assert!(row.rates[0] <= row.rates[1] && row.rates[1] <= row.rates[2], "{}", row.name);
        }
        assert!(Fault::try_from("plague".to_owned()).is_err());
    }
}
