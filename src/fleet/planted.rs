//! Deliberate mistakes at the core's real decision points. They exist only under test: a world that finds nothing proves
//! nothing until it is shown to find things.
//!
//! Outside of tests [`planted`] is constantly false, so that nothing of it is left in what ships.

macro_rules! bugs {
    ($( $(#[$doc:meta])* $bug:ident, )*) => {
        /// A mistake that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Bug { $( $(#[$doc])* $bug, )* }

        /// All of them.
        #[cfg(test)]
        pub(crate) const BUGS: &[Bug] = &[ $( Bug::$bug, )* ];
    };
}

bugs! {
    /// A create is sent twice.
    SendTwice,
    /// A create is sent without its intent on record.
    EffectWithoutIntent,
    /// A destroy is sent without a sentence on record.
    DestroyWithoutDoom,
    /// An acknowledged destroy is taken for the end.
    GoneOnAcknowledgement,
    /// A failed destroy is taken for the end.
    GoneOnFailure,
    /// Evidence from before a stall still counts.
    CountWhileStalled,
    /// The first minutes after a start are trusted like any other.
    NoWarmUp,
    /// Commands never expire.
    NoExpiry,
    /// The first list without its label settles a create in doubt.
    SettleAtOnce,
    /// Lists alone settle a create in doubt, however little time they span.
    SettleByCountAlone,
    /// A newcomer is adopted on its first probe, whatever it says.
    AdoptUnproven,
    /// A stranger's healthy answer counts as the box's own.
    AcceptStranger,
    /// A witness who says up is taken to say down.
    MisreadWitness,
    /// Without a witness the threshold is not doubled.
    NoDoubling,
    /// A journal that never rented trusts its first lists.
    NewJournalTrusted,
    /// A box that the journal does not know keeps its own node from renting and no other.
    UnknownIgnored,
    /// A list that lacks a box is believed although nothing else answers.
    AbsenceIsEnough,
    /// Canaries count as proof of the way to the boxes, although other nodes could tell.
    CanariesProveAll,
    /// Maintenance that died with its work is left alone.
    LeaveForgotten,
    /// The breaker never holds.
    NeverHold,
    /// The breaker never slows down.
    NeverSlow,
    /// While slow, recoveries are not spaced.
    NoSpacing,
    /// The fleet's caps on replacements are not asked.
    NoFleetCaps,
    /// A node's cap on creates is not asked.
    NoNodeCap,
    /// A remedy that helps for minutes is tried without end.
    RemedyWithoutEnd,
    /// A node is replaced however short ago it was.
    NoCooldown,
    /// A create does not wait for the destroy's acknowledgement.
    CreateBesideUndestroyed,
    /// A second rental of an op is left alone.
    StrayForgotten,
    /// Whatever is listed and not claimed is condemned.
    ReapForeigners,
    /// A pause is not respected.
    PauseIgnored,
    /// A node is held in silence.
    HoldInSilence,
    /// An incident ends in silence.
    CloseInSilence,
    /// After a crash an intent is taken for never sent.
    IntentForgottenAtBoot,
    /// The fold forgets a condemned stray.
    DoomForgotten,
    /// The caps on dollars are not asked.
    BudgetIgnored,
    /// A key that is taken again stays refused.
    KeyRefusedForEver,
    /// The breaker does not leave its hold.
    HoldForEver,
    /// What failed in a blackout is evidence after it.
    BlindEvidence,
    /// A published address is not followed.
    AddressNotFollowed,
    /// Machines that failed are rented again.
    LedgerIgnored,
    /// A release that was never seen serving is tried on any number of boxes.
    UnprovenEverywhere,
    /// A contract's end is not looked at.
    EndIgnored,
    /// More is bid than may be bid.
    BidBeyondMost,
    /// A condemned instance that is still listed is not destroyed again.
    UndeadForgotten,
}

#[cfg(not(test))]
#[must_use]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use self::switch::{plant, planted};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug in this thread, or removes it.
    pub(crate) fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}
